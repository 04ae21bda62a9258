"""Files that are never seen half written."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["write_whole"]


def write_whole(path: Path, content: bytes, *, sync: bool = False) -> None:
    """Write beside the file, then rename.

    Parameters
    ----------
    path
        The file, replaced if it is there.
    content
        What it is to hold.
    sync
        Whether it has to have reached the disk before it gets its name: for what others vouch for.
    """
    part = path.with_name(path.name + ".part")
    try:
        with part.open("wb") as stream:
            stream.write(content)
            if sync:
                stream.flush()
                os.fsync(stream.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
