"""Calibration events: few, of every kind, and none that the result is judged on.

Candidates are sorted into cells of total light, position and dead fraction, and taken from the
cells in turn, so that rare kinds are there among a hundred events.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from xec_deploy.detector import design_geometry
from xec_deploy.detector.constants import N_MPPC
from xec_deploy.errors import InputError
from xec_deploy.events import EventBatch, expand_inputs, open_events
from xec_deploy.parity import DEFAULT_EVENTS
from xec_deploy.parity.events import EventLabel, ParityEvents, read_events

__all__ = ["Selection", "data_hash", "select_events", "with_dead_channels"]

CANDIDATES: Final = 4096
"""Events looked at; the memory they take, 180 MB, is the limit."""
BLOCK: Final = 64
"""Consecutive candidates; blocks are spread evenly over a file, and so over its runs."""
EXTREMES: Final = 4
"""Events at either end of each property that come before all others: ranges are theirs."""
DEAD_EVERY: Final = 4
BOARD: Final = 16
"""Channels of a board, which has consecutive ids on the inner face."""
CELLS: Final = {"light": 4, "u": 3, "v": 3, "dead": 3}
"""Bins of equal population along each property."""


@dataclass(frozen=True)
class Selection:
    """Events for ranges and events for judgement; no (run, event) is in both.

    Attributes
    ----------
    calibration
        Stratified.
    judged
        Those `parity` takes by default from the same files, and more, stratified.
    seed
        Of the choice.
    """

    calibration: ParityEvents
    judged: ParityEvents
    seed: int


def select_events(
    inputs: Sequence[str], *, count: int, judged: int, seed: int = 1, candidates: int = CANDIDATES
) -> Selection:
    """Choose events from files.

    Parameters
    ----------
    inputs
        Files, globs, URLs or run lists.
    count, judged
        Events to calibrate with and to judge on.
    seed
        Same seed and files, same events.
    candidates
        Events looked at, evenly from the files.

    Raises
    ------
    InputError
        If a file cannot be used, or there are too few readable events.
    """
    first = _once(read_events(inputs, min(DEFAULT_EVENTS, judged)))
    pool = _read_candidates(inputs, max(candidates, count + judged))
    taken = _identities(first)
    fresh = [row for row, key in enumerate(_identities_in_order(pool)) if key not in taken]
    more = judged - len(first)
    if len(fresh) < count + more:
        raise InputError(
            f"{len(first) + len(fresh)} different readable events, needed are {count + judged}",
            where=", ".join(pool.sources),
            fix="Pass more files with --data, or fewer --events.",
        )
    chosen = _stratified(pool, np.array(fresh, np.int64), count + more, seed)
    # Evenly from both ends of the order, so that both sets have every kind.
    for_judgement = np.zeros(len(chosen), bool)
    if more:
        for_judgement[np.linspace(0, len(chosen) - 1, more).round().astype(int)] = True
    return Selection(
        calibration=pool.take(chosen[~for_judgement]),
        judged=_joined(first, pool.take(chosen[for_judgement])),
        seed=seed,
    )


def with_dead_channels(events: ParityEvents, most: int, seed: int) -> ParityEvents:
    """Return the events, every fourth one with more dead channels than it had.

    A bundle must hold for up to ``most`` of them, which few files have.  Single channels and whole
    boards are lost in turn.
    """
    random = np.random.default_rng(seed)
    dead = events.dead.copy()
    for turn, row in enumerate(range(0, len(events), DEAD_EVERY)):
        count = int(random.integers(0, most + 1))
        if turn % 2:
            boards = random.choice(N_MPPC // BOARD, count // BOARD, replace=False)
            chosen = (boards[:, None] * BOARD + np.arange(BOARD)).ravel()
        else:
            chosen = random.choice(dead.shape[1], count, replace=False)
        dead[row, chosen] = True
    return replace(events, dead=dead)


def data_hash(events: ParityEvents) -> str:
    """Return the SHA-256 of the values of events and of where they come from in a run."""
    digest = hashlib.sha256()
    for array in (events.npho, events.time, events.dead):
        digest.update(np.ascontiguousarray(array).tobytes())
    digest.update(repr([(label.run, label.event) for label in events.labels]).encode())
    return digest.hexdigest()


def _identities_in_order(events: ParityEvents) -> list[tuple[int | None, int | None]]:
    return [(label.run, label.event) for label in events.labels]


def _identities(events: ParityEvents) -> set[tuple[int | None, int | None]]:
    return set(_identities_in_order(events))


def _once(events: ParityEvents) -> ParityEvents:
    """Return the events without those that are there already."""
    seen = {key: row for row, key in reversed(list(enumerate(_identities_in_order(events))))}
    return events.take(np.array(sorted(seen.values()), np.int64))


def _joined(one: ParityEvents, two: ParityEvents) -> ParityEvents:
    return ParityEvents(
        np.concatenate([one.npho, two.npho]),
        np.concatenate([one.time, two.time]),
        np.concatenate([one.dead, two.dead]),
        one.labels + two.labels,
        one.sources,
    )


def _read_candidates(inputs: Sequence[str], count: int) -> ParityEvents:
    """Read blocks evenly from all files; a (run, event) that comes again is left out."""
    files = expand_inputs(list(inputs))
    share = -(-count // len(files))
    batches: list[tuple[str, EventBatch]] = []
    for item in files:
        with open_events(item) as opened:
            for start, stop in _blocks(opened.num_entries, share):
                batches.append((opened.path, opened.read(start, stop)))
    seen: set[tuple[int, int]] = set()
    rows: list[NDArray[np.int64]] = []
    labels: list[EventLabel] = []
    for path, batch in batches:
        good = []
        for row in np.flatnonzero(batch.readable):
            key = int(batch.run[row]), int(batch.event[row])
            if key not in seen:
                seen.add(key)
                good.append(row)
                labels.append(EventLabel(path, int(batch.entry_start + row), *key))
        rows.append(np.array(good, np.int64))
    if not labels:
        raise InputError("no readable event", where=", ".join(item.path for item in files))
    return ParityEvents(
        np.concatenate([batch.npho[good] for (_, batch), good in zip(batches, rows, strict=True)]),
        np.concatenate([batch.time[good] for (_, batch), good in zip(batches, rows, strict=True)]),
        np.concatenate([batch.dead[good] for (_, batch), good in zip(batches, rows, strict=True)]),
        tuple(labels),
        tuple(item.path for item in files),
    )


def _blocks(entries: int, share: int) -> Iterator[tuple[int, int]]:
    if entries <= share:
        yield from ((first, min(first + BLOCK, entries)) for first in range(0, entries, BLOCK))
        return
    blocks = -(-share // BLOCK)
    for start in np.linspace(0, max(entries - BLOCK, 0), blocks).astype(int):
        yield int(start), min(int(start) + BLOCK, entries)


def _stratified(
    events: ParityEvents, rows: NDArray[np.int64], count: int, seed: int
) -> NDArray[np.int64]:
    """Return ``count`` of ``rows``: extremes first, then one from each cell in turn."""
    random = np.random.default_rng(seed)
    cell = np.zeros(len(rows), np.int64)
    place = np.full(len(rows), len(rows), np.int64)
    for (_, bins), values in zip(CELLS.items(), _properties(events, rows), strict=True):
        edges = np.quantile(values, np.linspace(0, 1, bins + 1)[1:-1])
        cell = cell * bins + np.searchsorted(edges, values, side="right")
        order = np.argsort(values, kind="stable")
        place[order[:EXTREMES]] = place[order[-EXTREMES:]] = -1
    order = random.permutation(len(rows))
    for members in (order[cell[order] == one] for one in np.unique(cell)):
        place[members] = np.minimum(place[members], np.arange(len(members)))
    # The extremes, then of every cell the first, then of every cell the second, in random order.
    return np.asarray(rows[order[np.argsort(place[order], kind="stable")]][:count])


def _properties(events: ParityEvents, rows: NDArray[np.int64]) -> tuple[NDArray[np.float64], ...]:
    """Return total light (its logarithm), centre of light u and v [cm], and dead fraction."""
    geometry = design_geometry()
    light = events.npho[rows]
    light = np.where(events.dead[rows] | (light < 0), 0, light).astype(np.float64)
    inner = light[:, :N_MPPC]
    weight = np.maximum(inner.sum(axis=1), 1.0)
    centre = inner @ geometry.uvw[:N_MPPC, :2] / weight[:, None]
    total = np.log(np.maximum(light.sum(axis=1), 1.0))
    return total, centre[:, 0], centre[:, 1], events.dead[rows].mean(axis=1)
