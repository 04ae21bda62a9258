"""The order of an epoch, as arithmetic on numbers.

The units of the files are put in random order and laid end to end.  The line of events is cut into
*lanes*; every global batch takes a fixed share from each lane, and within a unit the events come
in random order.  So as many units are mixed at a time as there are lanes, each lane holds one unit
in memory, and a process that owns some of the lanes reads only these.

Ranks own consecutive lanes, workers of a rank consecutive lanes of these, and the rows of a batch
lie in the order of the lanes.  Therefore the order depends on seed, epoch, files, global batch and
number of lanes, but not on how many ranks or workers share the work: the batches of the ranks,
joined, are the batch of a single process.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["EpochOrder", "Segment", "split"]


def split(total: int, parts: int) -> NDArray[np.int64]:
    """Return the edges (parts + 1,) of ``total`` items shared as evenly as possible."""
    return np.arange(parts + 1, dtype=np.int64) * total // parts


@dataclass(frozen=True)
class Segment:
    """Events ``first`` to ``last`` of the shuffled events of a unit."""

    unit: int
    first: int
    last: int


class EpochOrder:
    """Order of the events of one epoch.

    Parameters
    ----------
    usable
        (units,) events of each unit.
    total
        Events of the epoch: the first so many in the order of the units.
    batch
        Events of a global batch, over all ranks.
    lanes
        Number of lanes.
    seed, epoch
        What the order is drawn from.

    Attributes
    ----------
    steps
        Full batches; the events left over come in another epoch, which has another order.
    shares
        (lanes + 1,) rows of a global batch at which the lanes' shares begin.
    """

    def __init__(
        self,
        usable: NDArray[np.int64],
        *,
        total: int,
        batch: int,
        lanes: int,
        seed: int,
        epoch: int,
    ) -> None:
        self._seed = (seed, epoch)
        self._usable = usable
        self._units = np.random.default_rng(self._seed).permutation(len(usable))
        self._edges = np.concatenate([[0], np.cumsum(usable[self._units])])
        self.steps = total // batch
        self.shares = split(batch, lanes)
        # as many events as the lane's share of the batches needs, and of what is left over
        self._lanes = total * self.shares // batch

    def segments(self, lane: int, first_step: int) -> Iterator[Segment]:
        """Iterate over a lane's segments from a batch of the epoch on."""
        share = int(self.shares[lane + 1] - self.shares[lane])
        position = int(self._lanes[lane]) + first_step * share
        stop = int(self._lanes[lane]) + self.steps * share
        place = int(np.searchsorted(self._edges, position, side="right")) - 1
        while position < stop:
            begin, end = int(self._edges[place]), int(self._edges[place + 1])
            if position < end:
                last = min(end, stop)
                yield Segment(int(self._units[place]), position - begin, last - begin)
                position = last
            place += 1

    def rows(self, segment: Segment) -> NDArray[np.int64]:
        """Return which of the unit's usable events a segment has, in order."""
        random = np.random.default_rng((*self._seed, 1 + segment.unit))
        order = random.permutation(int(self._usable[segment.unit]))
        return order[segment.first : segment.last]
