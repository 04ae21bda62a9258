"""An output on its way: the folder ``OUT.root.part`` and what is in it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from xec_deploy.errors import UsageError
from xec_deploy.events import InputFile
from xec_deploy.inference.locking import FileLock
from xec_deploy.inference.outputs import make_folder
from xec_deploy.inference.spool import LEDGER, Spool, read_header

__all__ = ["PART", "Piece", "Target", "piece_name"]

PART: Final = ".part"
LOCK: Final = "lock"


@dataclass(eq=False)
class Piece:
    """Consecutive entries of one input and where their rows are kept.

    Attributes
    ----------
    item
        The input.
    source
        Its record for the provenance.
    entries
        The entry range.
    spool
        Rows that are there.
    """

    item: InputFile
    source: dict[str, Any]
    entries: tuple[int, int]
    spool: Spool

    @property
    def complete(self) -> bool:
        """Whether all rows are there."""
        return self.spool.next_entry == self.entries[1]


@dataclass(eq=False)
class Target:
    """One result file and the inputs that go to it.

    Attributes
    ----------
    path
        The file.
    items
        Inputs in order.
    joined
        Whether it is one file for all of them.
    folder
        Where everything is until the file is complete.
    pieces
        Those opened so far.
    """

    path: Path
    items: tuple[InputFile, ...]
    joined: bool = False
    folder: Path = field(init=False)
    pieces: list[Piece] = field(default_factory=list)
    _lock: FileLock | None = None

    def __post_init__(self) -> None:
        """Derive the folder."""
        self.folder = self.path.with_name(self.path.name + PART)

    def acquire(self) -> None:
        """Make the folder and lock it, if that has not been done.

        Raises
        ------
        UsageError
            If another job has it, or it cannot be made.
        """
        if self._lock is None:
            self.check()
            self._lock = FileLock(self.folder / LOCK, self.path)

    def check(self) -> None:
        """Make sure that the folder can be made.

        Raises
        ------
        UsageError
            If it cannot.
        """
        make_folder(self.path)
        if self.folder.exists() and not self.folder.is_dir():
            raise UsageError(
                "this file is in the way of the unfinished results",
                where=str(self.folder),
                fix="Remove or rename it.",
            )

    def close(self) -> None:
        """Let go of everything; what is on the disk stays."""
        for piece in self.pieces:
            piece.spool.close()
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def remove(self) -> None:
        """Remove the folder, which nobody else is using, and let go of it."""
        for piece in self.pieces:
            piece.spool.discard()
        if self._lock is not None:
            # The lock goes while it is held: who waits for it notices that its file is gone.
            for path in sorted(self.folder.iterdir(), key=lambda path: path.name == LOCK):
                path.unlink(missing_ok=True)
            self.close()
        with suppress(OSError):
            self.folder.rmdir()

    def remove_if_empty(self) -> None:
        """Remove the folder unless there are rows in it to go on with."""
        if self._lock is not None and not any(self.folder.glob("*" + LEDGER)):
            self.remove()

    def headers(self) -> Iterator[dict[str, Any]]:
        """Read what earlier processes began here."""
        for ledger in sorted(self.folder.glob("*" + LEDGER)):
            header = read_header(ledger)
            if header is not None:
                yield header


def piece_name(number: int, start: int) -> str:
    """Return the name of the files of a piece: number of the input, first entry."""
    return f"{number:05d}-{start}"
