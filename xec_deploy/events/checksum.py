"""Identity of an input file: what it is, and whether it stayed so while it was read."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import xxhash

from xec_deploy.errors import InputError
from xec_deploy.events.failures import file_boundary, is_url

__all__ = ["FileWatch", "file_checksum"]

CHUNK_BYTES = 256 * 2**10
AHEAD_BYTES = 32 * 2**20
"""How far hashing runs ahead of reading: what it has read is then in the page cache."""
COPY_FIRST = "Infer it when it is complete, or from a copy that nobody writes to."


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


@dataclass(frozen=True)
class _State:
    device: int
    inode: int
    size: int
    modified_ns: int


class FileWatch:
    """Hashes a file while others read it, and notices if it changes meanwhile.

    To be made before the file is opened for reading.  A file behind a URL has neither a state nor
    a checksum.

    Parameters
    ----------
    path
        Local path or URL.

    Attributes
    ----------
    size, modified_ns
        Bytes, and time of the last change in ns; None for a URL.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._state = None if is_url(path) else _state(path)
        self._digest = xxhash.xxh3_128()
        self._stream: IO[bytes] | None = None
        self._hashed = 0
        self.size = None if self._state is None else self._state.size
        self.modified_ns = None if self._state is None else self._state.modified_ns

    def advance(self, fraction: float) -> None:
        """Say that about this part of the file has been read by others; hashes a bit further."""
        if self.size is not None:
            self._hash_to(min(int(fraction * self.size) + AHEAD_BYTES, self.size))

    def finish(self) -> str | None:
        """Return the checksum as of `file_checksum`; None for a URL.

        Raises
        ------
        InputError
            If the file is not the one it was when the watch began.
        """
        if self.size is None:
            return None
        self._hash_to(self.size)
        self.close()
        self.check()
        return f"xxh3_128:{self._digest.hexdigest()}"

    def check(self) -> None:
        """See whether the file is still the same.

        Raises
        ------
        InputError
            If it has gone, or was changed or replaced.
        """
        if self._state is None:
            return
        now = _state(self._path)
        if now is None:
            raise InputError(
                "the file has gone while it was being read", where=self._path, fix=COPY_FIRST
            )
        if now != self._state:
            raise InputError(
                "the file was changed while it was being read", where=self._path, fix=COPY_FIRST
            )

    def close(self) -> None:
        """Close the file."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def _hash_to(self, position: int) -> None:
        with file_boundary(self._path, "reading", fix=COPY_FIRST):
            while self._hashed < position:
                if self._stream is None:
                    self._stream = Path(self._path).open("rb")  # noqa: SIM115 - until `close`
                    self._stream.seek(self._hashed)
                chunk = self._stream.read(min(CHUNK_BYTES, position - self._hashed))
                if not chunk:
                    break  # shorter than it was: `check` says so
                self._digest.update(chunk)
                self._hashed += len(chunk)


def _state(path: str) -> _State | None:
    try:
        found = Path(path).stat()
    except OSError:
        return None
    return _State(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)
