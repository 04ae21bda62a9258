"""From streams of rows to batches: native arrays, dead channels marked, numbers filled in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xec_deploy.detector.constants import INVALID_ABOVE
from xec_deploy.errors import InputError
from xec_deploy.events.batch import EventBatch, SensorArrays
from xec_deploy.events.columns import RowStream
from xec_deploy.events.dead import DeadChannels
from xec_deploy.events.failures import place
from xec_deploy.events.sources import EventSources, EventStreams

__all__ = ["Preparer"]


@dataclass(frozen=True)
class Preparer:
    """Makes batches of the events of one file.

    Attributes
    ----------
    sources
        Its branches.
    run
        Run number where the file has none.
    dead
        Source of dead channels.
    """

    sources: EventSources
    run: int
    dead: DeadChannels

    def batch(self, streams: EventStreams, first: int, into: SensorArrays) -> EventBatch:
        """Take as many rows as ``into`` has from the streams; ``first`` is their entry number.

        Raises
        ------
        InputError
            If they cannot be read, or the dead-channel source does not know a run.
        """
        npho, time, dead = into.npho, into.time, into.dead
        count = len(npho)
        readable = streams.npho.fill(npho) & streams.time.fill(time)
        # comparisons with NaN are False: NaN counts as invalid
        invalid = ~((npho <= INVALID_ABOVE) & (npho > -np.inf))
        if streams.dead is None:
            np.copyto(dead, invalid)
        else:
            readable &= streams.dead.fill(dead)
            dead |= invalid
        run = np.full(count, self.run, np.int64)
        event = np.arange(first, first + count, dtype=np.int64)
        for stream, numbers in ((streams.run, run), (streams.event, event)):
            if stream is not None:
                stream.fill(numbers)
        dead |= self.dead.mask_for(run)
        unreadable = ~readable
        if unreadable.any():
            npho[unreadable] = np.nan
            time[unreadable] = np.nan
            dead[unreadable] = True
        return EventBatch(
            entry_start=first,
            run=run,
            event=event,
            npho=npho,
            time=time,
            dead=dead,
            readable=readable,
            extra={
                name: self.kept(name, stream, first, count) for name, stream in streams.kept.items()
            },
        )

    def kept(self, name: str, stream: RowStream, first: int, count: int) -> NDArray[Any]:
        """Take rows of a branch that is handed through.

        Raises
        ------
        InputError
            If they cannot be read, or are not all of one length.
        """
        kept = self.sources.kept[name]
        values = np.empty((count, *kept.shape), kept.source.dtype)
        ok = stream.fill(values)
        if not ok.all():
            tree, bad = self.sources.tree, first + int(np.argmin(ok))
            raise InputError(
                f"an event has not {kept.shape[0]} values as the first one",
                where=place(tree.path, tree.name, name, (bad, bad + 1)),
                fix="Only branches of fixed size can be kept; leave it out of --keep.",
            )
        return values
