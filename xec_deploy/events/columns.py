"""One branch as a sequence of blocks, and a stream of rows cut from them.

A file stores a branch in units that can only be decompressed whole: baskets of a TTree, pages
of an RNTuple.  A source reads a few of them at a time (a block); a stream hands out any number
of rows from the blocks, so that every unit is decompressed once whatever the batch size.
"""

from __future__ import annotations

from concurrent.futures import CancelledError, Executor, Future
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from xec_deploy.errors import InputError
from xec_deploy.events.blocks import BlockMemory
from xec_deploy.events.failures import file_boundary, place

__all__ = ["BranchSource", "Ragged", "RowStream", "Rows", "as_rows"]


@dataclass(frozen=True)
class Ragged:
    """Rows of varying length: row ``i`` is ``content[offsets[i]:offsets[i + 1]]``."""

    offsets: NDArray[np.int64]
    content: NDArray[Any]

    @property
    def lengths(self) -> NDArray[np.int64]:
        """(n,) number of values of each row."""
        return np.diff(self.offsets)


@dataclass(frozen=True)
class Rows:
    """Rows of one length: ``values`` (n, ...) and whether each had that length, ``ok`` (n,)."""

    values: NDArray[Any]
    ok: NDArray[np.bool_]


class BranchSource(Protocol):
    """A branch (or field) that can be read block by block."""

    @property
    def name(self) -> str:
        """Name in the file."""

    @property
    def typename(self) -> str:
        """The C++ type as the file states it, e.g. ``float[4760]``."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Element type, native byte order."""

    @property
    def shape(self) -> tuple[int, ...] | None:
        """Shape of an entry; None where it varies from entry to entry."""

    @property
    def codec(self) -> str:
        """Compression, such as ``LZ4``, or ``none``."""

    @property
    def units(self) -> int:
        """Number of baskets or pages."""

    @property
    def boundaries(self) -> NDArray[np.int64]:
        """(blocks + 1,) ascending entry numbers that delimit the blocks."""

    def read_entries(
        self, first: int, last: int, blocks: BlockMemory | None = None
    ) -> NDArray[Any] | Ragged:
        """Decompress entries ``first`` to ``last``, which lie in one block.

        They may be put in memory of ``blocks``, to be given back by who reads them.
        """


def as_rows(block: NDArray[Any] | Ragged, length: int | None) -> Rows:
    """Bring a block to rows of one length.

    Parameters
    ----------
    block
        (n, ...) array or n ragged rows.
    length
        Values a ragged row must have; others become NaN (zero for integers) and not ``ok``.
        Ignored for an array.
    """
    if not isinstance(block, Ragged):
        return Rows(block, np.ones(len(block), bool))
    if length is None:
        raise ValueError("ragged rows need a length")
    ok = block.lengths == length
    if ok.all():
        first, last = block.offsets[0], block.offsets[-1]
        return Rows(block.content[first:last].reshape(len(ok), length), ok)
    dtype = block.content.dtype
    values = np.full((len(ok), length), np.nan if dtype.kind == "f" else 0, dtype)
    for row in np.flatnonzero(ok):
        values[row] = block.content[block.offsets[row] : block.offsets[row + 1]]
    return Rows(values, ok)


class RowStream:
    """Rows ``start`` to ``stop`` of one branch, in any portions.

    Parameters
    ----------
    source
        The branch.
    path, tree
        For messages.
    start, stop
        Entry range; no basket or page beyond it is decompressed.
    length
        Values of a row, for sources without a fixed shape.
    executor
        Where blocks are decompressed, each while the one before it is used; None to do it when
        rows are wanted.
    blocks
        Memory for blocks, shared with other streams; None for its own.
    """

    def __init__(
        self,
        source: BranchSource,
        path: str,
        tree: str,
        *,
        start: int,
        stop: int,
        length: int | None = None,
        executor: Executor | None = None,
        blocks: BlockMemory | None = None,
    ) -> None:
        self._source = source
        self._path, self._tree = path, tree
        self._length = length
        self._next_block = int(np.searchsorted(source.boundaries, start, side="right")) - 1
        self._start, self._stop = start, stop
        self._rows = Rows(np.empty(0), np.empty(0, bool))
        self._executor = executor
        self._blocks = blocks or BlockMemory()
        self._coming: Future[Rows] | None = None
        self._order_next()

    def fill(self, out: NDArray[Any]) -> NDArray[np.bool_]:
        """Copy the next ``len(out)`` rows to ``out``, converting dtype and byte order.

        Values beyond the range of ``out``'s floating type become infinite.  Returns which rows
        had the expected length, (n,).

        Raises
        ------
        InputError
            If the branch cannot be read there.
        """
        ok = np.empty(len(out), bool)
        filled = 0
        while filled < len(out):
            if not len(self._rows.ok):
                self._load()
            count = min(len(out) - filled, len(self._rows.ok))
            target = out[filled : filled + count]
            # 1e39 in a file of doubles is as invalid as the infinity it becomes
            with np.errstate(over="ignore", invalid="ignore"):
                np.copyto(target, self._rows.values[:count].reshape(target.shape), casting="unsafe")
            ok[filled : filled + count] = self._rows.ok[:count]
            self._rows = Rows(self._rows.values[count:], self._rows.ok[count:])
            filled += count
        return ok

    def close(self) -> None:
        """Wait for what is being decompressed, and drop it."""
        coming, self._coming = self._coming, None
        if coming is not None and not coming.cancel():
            with suppress(CancelledError, InputError):
                self._blocks.give(coming.result().values)
        self._drop()

    def _load(self) -> None:
        # drop the used block before the next one comes: one at a time in memory, or two
        self._drop()
        if self._coming is None:
            self._rows = self._read(self._next_block)
            self._next_block += 1
        else:
            self._rows = self._coming.result()
            self._order_next()

    def _drop(self) -> None:
        self._blocks.give(self._rows.values)
        self._rows = Rows(np.empty(0), np.empty(0, bool))

    def _order_next(self) -> None:
        self._coming = None
        if self._executor is None or self._next_block + 1 >= len(self._source.boundaries):
            return
        if self._source.boundaries[self._next_block] < self._stop:
            self._coming = self._executor.submit(self._read, self._next_block)
            self._next_block += 1

    def _read(self, block: int) -> Rows:
        first, last = (int(entry) for entry in self._source.boundaries[block : block + 2])
        first, last = max(first, self._start), min(last, self._stop)
        with file_boundary(
            place(self._path, self._tree, self._source.name, (first, last)), "reading"
        ):
            found = self._source.read_entries(first, last, self._blocks)
            rows = as_rows(found, self._length)
            if len(rows.ok) != last - first:
                raise ValueError(f"{len(rows.ok)} entries instead of {last - first}")
        return rows
