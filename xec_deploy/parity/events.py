"""The events engines are compared on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xec_deploy.bundle import GoldenEvents
from xec_deploy.errors import InputError
from xec_deploy.events import expand_inputs, open_events

__all__ = ["EventLabel", "ParityEvents", "golden_events", "read_events"]

READ_BATCH = 64


@dataclass(frozen=True)
class EventLabel:
    """Where an event comes from; run and event None for a golden one."""

    source: str
    entry: int
    run: int | None = None
    event: int | None = None


@dataclass(frozen=True)
class ParityEvents:
    """Raw events in memory.

    Attributes
    ----------
    npho, time, dead
        (n, 4760) float32 photons, float32 s, bool.
    labels
        One an event.
    sources
        Files they come from.
    """

    npho: NDArray[np.float32]
    time: NDArray[np.float32]
    dead: NDArray[np.bool_]
    labels: tuple[EventLabel, ...]
    sources: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: NDArray[np.intp]) -> ParityEvents:
        """Return the events of some rows."""
        return ParityEvents(
            self.npho[rows],
            self.time[rows],
            self.dead[rows],
            tuple(self.labels[row] for row in rows),
            self.sources,
        )

    def head(self, count: int) -> ParityEvents:
        """Return the first events."""
        return self.take(np.arange(min(count, len(self))))

    @classmethod
    def join(cls, parts: Sequence[ParityEvents]) -> ParityEvents:
        """Put events one after the other."""
        return cls(
            np.concatenate([part.npho for part in parts]),
            np.concatenate([part.time for part in parts]),
            np.concatenate([part.dead for part in parts]),
            tuple(label for part in parts for label in part.labels),
            tuple(dict.fromkeys(source for part in parts for source in part.sources)),
        )


def golden_events(golden: GoldenEvents) -> ParityEvents:
    """Return the golden events of a bundle."""
    labels = tuple(EventLabel("golden", entry) for entry in range(len(golden)))
    return ParityEvents(golden.npho, golden.time, golden.dead, labels, ("golden.npz",))


def read_events(inputs: Sequence[str], limit: int) -> ParityEvents:
    """Read the first readable events of files, as ``infer`` reads them.

    Parameters
    ----------
    inputs
        Files, globs, URLs or run lists.
    limit
        Events at most, evenly from the files.

    Raises
    ------
    InputError
        If a file cannot be used, or none has an event.
    """
    files = expand_inputs(list(inputs))
    share = -(-limit // len(files))
    arrays: list[tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]] = []
    labels: list[EventLabel] = []
    for item in files:
        taken = 0
        with open_events(item) as opened:
            for batch in opened.batches(READ_BATCH):
                good = np.flatnonzero(batch.readable)[: min(share - taken, limit - len(labels))]
                arrays.append((batch.npho[good], batch.time[good], batch.dead[good]))
                labels += [
                    EventLabel(
                        opened.path,
                        int(batch.entry_start + i),
                        int(batch.run[i]),
                        int(batch.event[i]),
                    )
                    for i in good
                ]
                taken += len(good)
                if taken == share or len(labels) == limit:
                    break
    if not labels:
        raise InputError("no readable event", where=", ".join(item.path for item in files))
    npho, time, dead = (np.concatenate(parts) for parts in zip(*arrays, strict=True))
    return ParityEvents(npho, time, dead, tuple(labels), tuple(item.path for item in files))
