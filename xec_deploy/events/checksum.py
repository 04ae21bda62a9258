"""Identity of an input file, for provenance."""

from __future__ import annotations

import os
from pathlib import Path

import xxhash

from xec_deploy.events.failures import file_boundary

__all__ = ["file_checksum"]

CHUNK_BYTES = 4 * 2**20


def file_checksum(path: str | os.PathLike[str]) -> str:
    """Hash a local file's content: ``xxh3_128:`` and 32 hexadecimal digits.

    Not cryptographic, but as fast as any disk.

    Raises
    ------
    InputError
        If the file cannot be read.
    """
    digest = xxhash.xxh3_128()
    with (
        file_boundary(os.fspath(path), "reading", fix="Check the path."),
        Path(path).open("rb") as stream,
    ):
        while chunk := stream.read(CHUNK_BYTES):
            digest.update(chunk)
    return f"xxh3_128:{digest.hexdigest()}"
