"""Pieces of batches: what one process reads, written to given buffers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from xec_train.data.batch import RawBatch
from xec_train.data.index import EventIndex
from xec_train.data.order import EpochOrder, Segment
from xec_train.data.units import LoadedUnit, UnitReader

__all__ = ["LanePool", "Piece", "shuffled_pieces", "unit_pieces"]


@dataclass(frozen=True)
class Piece:
    """Where a piece lies.

    Attributes
    ----------
    buffer
        Number of the buffer.
    rows
        Events, from the first row of the buffer on.
    unreadable
        Events left out because their arrays cannot be read.
    worker
        The process whose buffer it is.
    """

    buffer: int
    rows: int
    unreadable: int
    worker: int = 0


class LanePool:
    """Memory for one unit of each of some lanes."""

    def __init__(
        self, index: EventIndex, reader: UnitReader, lanes: range, memory: RawBatch
    ) -> None:
        self.lanes = lanes
        self.memory = memory
        self._room = index.largest
        self._reader = reader

    @staticmethod
    def rows_needed(index: EventIndex, lanes: range) -> int:
        """Return the rows of memory a pool needs."""
        return len(lanes) * index.largest

    def load(self, lane: int, unit: int) -> LoadedUnit:
        """Read a unit into the place of a lane."""
        return self._reader.load(unit, self.memory, (lane - self.lanes.start) * self._room)


class _Lane:
    """The events of a lane in order, by their rows in the pool."""

    def __init__(self, pool: LanePool, order: EpochOrder, lane: int, first_step: int) -> None:
        self._pool, self._order, self._lane = pool, order, lane
        self._segments: Iterator[Segment] = order.segments(lane, first_step)
        self._rows: NDArray[np.int64] = np.empty(0, np.int64)
        self._readable: NDArray[np.bool_] = np.empty(0, bool)
        self.share = int(order.shares[lane + 1] - order.shares[lane])

    @property
    def is_empty(self) -> bool:
        """Whether the next unit must be loaded."""
        return not len(self._rows)

    def load(self) -> None:
        """Replace the unit, all of whose events have been taken, by the next one."""
        segment = next(self._segments)
        order = self._order.rows(segment)
        unit = self._pool.load(self._lane, segment.unit)
        self._rows, self._readable = unit.rows[order], unit.readable[order]

    def take(self, count: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Return rows of the next events, at most ``count``, and whether each can be read."""
        taken = self._rows[:count], self._readable[:count]
        self._rows, self._readable = self._rows[count:], self._readable[count:]
        return taken


def shuffled_pieces(
    order: EpochOrder, pool: LanePool, first_step: int, buffers: Iterator[tuple[int, RawBatch]]
) -> Iterator[Piece]:
    """Write the share of the pool's lanes in every batch from ``first_step`` on."""
    lanes = [_Lane(pool, order, lane, first_step) for lane in pool.lanes]
    for _ in range(first_step, order.steps):
        number, buffer = next(buffers)
        filled = unreadable = 0
        waiting: list[NDArray[np.int64]] = []
        for lane in lanes:
            needed = lane.share
            while needed:
                if lane.is_empty:
                    # the rows waiting may lie in the memory that is now overwritten
                    filled = _flush(buffer, pool.memory, waiting, filled)
                    lane.load()
                rows, readable = lane.take(needed)
                needed -= len(rows)
                if not readable.all():
                    unreadable += int((~readable).sum())
                    rows = rows[readable]
                waiting.append(rows)
        filled = _flush(buffer, pool.memory, waiting, filled)
        yield Piece(number, filled, unreadable)


def _flush(
    buffer: RawBatch, memory: RawBatch, waiting: list[NDArray[np.int64]], filled: int
) -> int:
    if not waiting:
        return filled
    rows = torch.from_numpy(np.concatenate(waiting))
    waiting.clear()
    return buffer.gather(memory, rows, filled)


def unit_pieces(
    index: EventIndex,
    reader: UnitReader,
    units: Sequence[int],
    events: range,
    buffers: Iterator[tuple[int, RawBatch]],
) -> Iterator[Piece]:
    """Write units in the order of the files, less what lies outside a range of usable events."""
    edges = np.concatenate([[0], np.cumsum(index.usable)])
    for unit in units:
        number, buffer = next(buffers)
        loaded = reader.load(unit, buffer, 0)
        before = int(edges[unit])
        inside = slice(max(events.start - before, 0), max(events.stop - before, 0))
        rows, readable = loaded.rows[inside], loaded.readable[inside]
        kept = rows[readable]
        if not np.array_equal(kept, np.arange(len(kept))):
            buffer.copy(buffer.take(torch.from_numpy(kept)), 0)
        yield Piece(number, len(kept), len(rows) - len(kept))
