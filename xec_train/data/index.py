"""What the files hold: units of consecutive entries, and how many events of each are used.

Made once, before the training, by reading nothing but the truth branches.  Because the number of
usable events of every unit is known, the order of an epoch is arithmetic on numbers, and any
position in it can be reached without reading what comes before.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xec_deploy.errors import InputError
from xec_deploy.events import EventFile, InputFile, dead_channels, open_events
from xec_train.config.sections import DataConfig
from xec_train.data.selection import Selection
from xec_train.data.truth import TRUTH_COMPONENTS
from xec_train.models import TaskName

__all__ = ["EventCounts", "EventIndex", "open_file", "scan_files"]

logger = logging.getLogger(__name__)

SCAN_THREADS = 8
"""Opening files is mostly waiting where they lie on a network file system."""
SCAN_ENTRIES = 2**18
"""Entries whose truth is read at once."""


@dataclass(frozen=True)
class EventCounts:
    """Where the entries of the files went.

    Attributes
    ----------
    entries
        Entries of the files.
    usable
        Those trained on (less the ones whose arrays turn out unreadable).
    outside
        Left out because they lie outside the fiducial volume.
    unknown
        Left out because their truth is not finite, or marked as invalid.
    """

    entries: int
    usable: int
    outside: int
    unknown: int


@dataclass(frozen=True)
class EventIndex:
    """The files cut into units, which are read whole.

    Attributes
    ----------
    inputs
        The files.
    branches
        For each file, the truth branch of each task (and of the fiducial cuts).
    file
        (units,) number of the file.
    start, stop
        (units,) entry range: whole baskets, or a part of one larger than a unit may be.
    usable
        (units,) number of events that are trained on.
    truth
        Truth of the usable events of the tasks asked for, in order: (events, components).
    counts
        Sums over the files.
    """

    inputs: tuple[InputFile, ...]
    branches: tuple[dict[TaskName, str], ...]
    file: NDArray[np.int32]
    start: NDArray[np.int64]
    stop: NDArray[np.int64]
    usable: NDArray[np.int64]
    truth: dict[TaskName, NDArray[np.float32]]
    counts: EventCounts

    def __len__(self) -> int:
        return len(self.file)

    @property
    def largest(self) -> int:
        """Entries of the largest unit."""
        return int((self.stop - self.start).max(initial=0))

    def fingerprint(self) -> str:
        """Return a short hash of files and units: equal if the same events come again."""
        digest = hashlib.sha256()
        for item in self.inputs:
            digest.update(f"{item.path}\0{item.tree}\0".encode())
        for array in (self.file, self.start, self.stop, self.usable):
            digest.update(array.astype("<i8").tobytes())
        return digest.hexdigest()[:16]


def open_file(item: InputFile, config: DataConfig, branches: Mapping[TaskName, str]) -> EventFile:
    """Open a file of training events, handing through its truth branches."""
    return open_events(
        item,
        npho_branch=config.npho_branch,
        time_branch=config.time_branch,
        keep=list(branches.values()),
        dead=dead_channels(config.dead),
    )


def scan_files(
    inputs: Sequence[InputFile],
    config: DataConfig,
    selection: Selection,
    *,
    largest: int,
    collect: Sequence[TaskName] = (),
) -> EventIndex:
    """Cut files into units and count their usable events, reading only the truth.

    Parameters
    ----------
    inputs, config, selection
        The files, how they are read, and which events are used.
    largest
        Entries a unit may have; a larger basket becomes several units and is decompressed once
        for each.
    collect
        Tasks whose truth is to be kept in the result, 4 bytes a value.

    Raises
    ------
    InputError
        If a file cannot be used, has no event with truth, or none is left at all.
    """

    def scan(item: InputFile) -> _Scanned:
        return _scan(item, config, selection, largest, collect)

    with ThreadPoolExecutor(min(SCAN_THREADS, len(inputs))) as pool:
        scanned = list(pool.map(scan, inputs))
    counts = EventCounts(
        entries=sum(file.counts.entries for file in scanned),
        usable=sum(file.counts.usable for file in scanned),
        outside=sum(file.counts.outside for file in scanned),
        unknown=sum(file.counts.unknown for file in scanned),
    )
    logger.log(
        logging.WARNING if counts.unknown else logging.INFO,
        "%d files, %d entries: %d used, %d outside the fiducial volume, %d without finite truth",
        len(inputs),
        counts.entries,
        counts.usable,
        counts.outside,
        counts.unknown,
    )
    if counts.usable == 0:
        empty = counts.entries == 0
        raise InputError(
            "the files hold no events" if empty else "no event lies in the fiducial volume",
            where=", ".join(item.path for item in inputs[:3]) + (", ..." if inputs[3:] else ""),
            fix="Check the paths." if empty else "Check the section data.fiducial.",
        )
    edges = [file.edges for file in scanned]
    return EventIndex(
        inputs=tuple(inputs),
        branches=tuple(file.branches for file in scanned),
        file=np.repeat(np.arange(len(inputs), dtype=np.int32), [len(e) - 1 for e in edges]),
        start=np.concatenate([e[:-1] for e in edges]),
        stop=np.concatenate([e[1:] for e in edges]),
        usable=np.concatenate([file.usable for file in scanned]),
        truth={task: np.concatenate([file.truth[task] for file in scanned]) for task in collect},
        counts=counts,
    )


@dataclass(frozen=True)
class _Scanned:
    branches: dict[TaskName, str]
    edges: NDArray[np.int64]
    usable: NDArray[np.int64]
    truth: dict[TaskName, NDArray[np.float32]]
    counts: EventCounts


def _scan(
    item: InputFile,
    config: DataConfig,
    selection: Selection,
    largest: int,
    collect: Sequence[TaskName],
) -> _Scanned:
    with open_file(item, config, {}) as events:
        branches = selection.branches(events.names, item.path)
    with open_file(item, config, branches) as events:
        selection.check(events, branches)
        edges = _unit_edges(events.boundaries, largest)
        usable = np.ones(events.num_entries, bool)
        outside = unknown = 0
        truth: dict[TaskName, list[NDArray[np.float32]]] = {task: [] for task in collect}
        for first, last in _ranges(events.num_entries) if branches else ():
            kept = events.read_kept(first, last)
            selected = selection.select(kept, branches, last - first)
            usable[first:last] = selected.usable
            unknown += int((~selected.finite).sum())
            outside += int((selected.finite & ~selected.inside).sum())
            for task, parts in truth.items():
                parts.append(selected.targets[task][selected.usable])
        if events.num_entries and unknown == events.num_entries:
            raise InputError(
                "no event has finite truth",
                where=item.path,
                fix="Leave the file out, or name other branches with data.truth.",
            )
        counts = EventCounts(events.num_entries, int(usable.sum()), outside, unknown)
        sums = np.concatenate([[0], np.cumsum(usable)])
        return _Scanned(
            branches,
            edges,
            np.diff(sums[edges]),
            {
                task: np.concatenate([np.empty((0, TRUTH_COMPONENTS[task]), np.float32), *parts])
                for task, parts in truth.items()
            },
            counts,
        )


def _unit_edges(boundaries: NDArray[np.int64], largest: int) -> NDArray[np.int64]:
    """Cut blocks that are larger than a unit may be into equal parts."""
    edges = [0]
    for first, last in zip(boundaries[:-1].tolist(), boundaries[1:].tolist(), strict=True):
        parts = -(-(last - first) // largest)
        edges += [first + (last - first) * part // parts for part in range(1, parts + 1)]
    return np.asarray(edges, np.int64)


def _ranges(entries: int) -> Iterator[tuple[int, int]]:
    for first in range(0, entries, SCAN_ENTRIES):
        yield first, min(first + SCAN_ENTRIES, entries)
