"""The file boundary: whatever goes wrong inside a ROOT file leaves as one `InputError`."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from xec_deploy.errors import InputError, XecError

__all__ = ["check_local_file", "file_boundary", "is_url", "place"]

DAMAGED = (
    "The file is damaged or incomplete; copy or produce it again, or leave it out of the inputs."
)
NOT_ROOT = "Give ROOT files, globs of them, or a run list as @runs.txt."
HEADER_BYTES = 20
BIG_FILE_VERSION = 1_000_000
"""TFile versions from here on store 64-bit offsets."""


def is_url(path: str) -> bool:
    """Whether ``path`` has a scheme such as ``root://`` and is not a local path."""
    scheme, separator, _ = path.partition("://")
    return bool(separator) and scheme.replace("+", "").replace("-", "").isalnum()


def place(
    path: str,
    tree: str | None = None,
    branch: str | None = None,
    entries: tuple[int, int] | None = None,
) -> str:
    """Say where something is: file, tree, branch and half-open entry range, as far as known."""
    parts = [path]
    if tree is not None:
        parts.append(f"tree '{tree}'")
    if branch is not None:
        parts.append(f"branch '{branch}'")
    if entries is not None:
        parts.append(f"entries {entries[0]} to {entries[1] - 1}")
    return ", ".join(parts)


@contextmanager
def file_boundary(where: str, doing: str, *, fix: str = DAMAGED) -> Iterator[None]:
    """Turn every failure inside the block into an `InputError` at ``where``.

    Damaged bytes surface from the ROOT reader as anything: ``OSError``, ``struct.error``,
    ``AssertionError``, ``IndexError``, a codec's own exception.  There is no list to
    enumerate, hence the broad clause; the original stays attached as the cause.

    Raises
    ------
    InputError
        With the first line of the original message.
    """
    try:
        yield
    except XecError:
        raise
    except Exception as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = lines[0].rstrip(".") if lines else type(error).__name__
        if isinstance(error, ModuleNotFoundError | ImportError):
            fix = "Install the package it names, or copy the file to a local disk first."
        raise InputError(f"{doing} failed ({reason})", where=where, fix=fix) from error


def check_local_file(path: str) -> None:
    """Refuse what cannot be a ROOT file, in words more precise than a reader's exception.

    Raises
    ------
    InputError
        If the file is missing, a directory, unreadable, empty, not a ROOT file, or shorter
        than its own header says.
    """
    file = Path(path)
    try:
        if file.is_dir():
            raise InputError(
                "this is a directory, not a file",
                where=path,
                fix=f"Name its files: '{path}/*.root'.",
            )
        size = file.stat().st_size
        with file.open("rb") as stream:
            header = stream.read(HEADER_BYTES)
    except FileNotFoundError:
        raise InputError("no such file", where=path, fix="Check the path.") from None
    except PermissionError:
        raise InputError(
            "no permission to read the file", where=path, fix="Ask its owner, or copy it."
        ) from None
    except OSError as error:
        raise InputError(
            f"the file cannot be opened ({error.strerror})", where=path, fix="Check the path."
        ) from error
    if size == 0:
        raise InputError("the file is empty (0 bytes)", where=path, fix="Produce or copy it again.")
    version = struct.unpack(">i", header[4:8])[0] if len(header) == HEADER_BYTES else 0
    # /etc/passwd starts with "root" as well
    if header[:4] != b"root" or not 0 < version < 2 * BIG_FILE_VERSION:
        raise InputError("this is not a ROOT file", where=path, fix=NOT_ROOT)
    (end,) = struct.unpack(
        *((">q", header[12:20]) if version >= BIG_FILE_VERSION else (">i", header[12:16]))
    )
    if size < end:
        raise InputError(
            f"the file is truncated: {size} bytes of the {end} its header announces",
            where=path,
            fix=DAMAGED,
        )
