"""Truth and conventional estimates for a file of results, streamed from its input."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from xec_deploy.detector import constants as c
from xec_deploy.errors import InputError, XecError
from xec_deploy.events import EventBatch, EventFile, find_truth, open_events
from xec_deploy.physics.conventional import estimate
from xec_deploy.report.results import RESULT_NAMES, Results

__all__ = ["Comparison", "Snapshot", "compare", "take_snapshots"]

logger = logging.getLogger(__name__)

FloatArray = NDArray[np.float64]
BATCH_EVENTS: Final = 250
COMPONENTS: Final[Mapping[str, tuple[str, ...]]] = {
    "energy": ("energy",),
    "timing": ("timing",),
    "angle": ("theta", "phi"),
    "uvwFI": ("u", "v", "w"),
}
"""The results each task's truth is compared with."""


@dataclass(frozen=True)
class Source:
    """An input file, its tree (None: find it) and the results entry its first event is."""

    path: str
    tree: str | None
    start: int = 0


@dataclass(frozen=True, eq=False)
class Comparison:
    """What results are compared with, by result name, each (n,) float64 in the branch's unit.

    Attributes
    ----------
    truth
        NaN where unknown; empty without any truth.
    conventional
        The conventional reconstruction where ``infer`` has made it; else simple estimates, NaN
        beyond the events they were made for, empty without the input.
    n_conventional
        Events with conventional values.
    sources
        The input files in the order of the results; none if they are not there.
    note
        One sentence saying where truth came from, or why there is none.
    """

    truth: Mapping[str, FloatArray]
    conventional: Mapping[str, FloatArray]
    n_conventional: int
    sources: tuple[Source, ...]
    note: str

    def fiducial(self, results: Results) -> NDArray[np.bool_]:
        """Return which events (n,) are in the fiducial volume, by truth where there is one."""
        inside = np.ones(len(results), dtype=np.bool_)
        for name, limit in (("u", c.FIDUCIAL_U), ("v", c.FIDUCIAL_V), ("w", c.FIDUCIAL_W)):
            position = self.truth.get(name, results.values.get(name))
            if position is not None:
                low = 0.0 if name == "w" else -limit
                inside &= (position > low) & (position < limit)
        return inside


@dataclass(frozen=True, eq=False)
class Snapshot:
    """One raw event: entry, photons and times [s] (4760,) float32, dead channels (4760,) bool."""

    entry: int
    npho: NDArray[np.float32]
    time: NDArray[np.float32]
    dead: NDArray[np.bool_]


def compare(
    results: Results, *, events: Path | None = None, conventional_events: int = 20_000
) -> Comparison:
    """Find truth and, unless the results have conventional values, make simple estimates.

    Truth comes from kept branches of the results, else from the input: ``events``, or the file
    the provenance names if it is still there and has the same events.

    Raises
    ------
    InputError
        If ``events`` was given and is not the file the results were made of.
    """
    kept = _truth_arrays(
        {name: array for name, array in results.kept.items() if name not in RESULT_NAMES}
    )
    sources = [Source(str(events), None)] if events else _inputs_of(results.provenance)
    reason = "The results do not name their input."
    if sources:
        try:
            return _from_inputs(results, kept, sources, conventional_events)
        except XecError as error:
            if events:
                raise
            logger.warning("%s", error)
            reason = str(error)
    made = results.conventional
    return Comparison(
        kept, made, len(results) if made else 0, (), _note(kept, "kept branches", reason)
    )


def take_snapshots(comparison: Comparison, entries: Iterable[int]) -> list[Snapshot]:
    """Read some events of the input again, for display; none without the input."""
    snapshots: list[Snapshot] = []
    for entry in entries:
        held = [source for source in comparison.sources if source.start <= entry]
        if not held:
            continue
        with open_events(held[-1].path, tree=held[-1].tree) as file:
            row = entry - held[-1].start
            snapshots += [
                Snapshot(entry, batch.npho[0].copy(), batch.time[0].copy(), batch.dead[0].copy())
                for batch in file.batches(1, row, row + 1)
            ]
    return snapshots


def _from_inputs(
    results: Results,
    kept: Mapping[str, FloatArray],
    sources: list[Source],
    conventional_events: int,
) -> Comparison:
    truth: dict[str, FloatArray] = {}
    conventional: dict[str, FloatArray] = dict(results.conventional)
    if conventional:
        conventional_events = 0
    placed: list[Source] = []
    start = 0
    for source in sources:
        with open_events(source.path, tree=source.tree) as file:
            wanted = [name for task, name in find_truth(file.names).items() if task in COMPONENTS]
            entries = file.num_entries
        if start + entries > len(results):
            raise _wrong_length(source.path, start + entries, len(results))
        placed.append(Source(source.path, source.tree, start))
        # Without truth to read, the rest of the file would be read for nothing.
        stop = entries if wanted else min(max(conventional_events - start, 0), entries)
        with open_events(source.path, tree=source.tree, keep=wanted) as file:
            for batch in file.batches(BATCH_EVENTS, 0, stop):
                first = start + batch.entry_start
                rows = slice(first, first + len(batch))
                _require_same_events(batch, results, rows, source.path, file)
                _place(truth, _truth_arrays(batch.extra), rows, len(results))
                if first < conventional_events:
                    simple = estimate(batch.npho, batch.time, batch.dead)
                    _place(conventional, simple.to_dict(), rows, len(results))
        start += entries
    if start != len(results):
        raise _wrong_length(sources[-1].path, start, len(results))
    last = len(results)
    if not results.conventional:
        known = np.isfinite(conventional["energy"]) if conventional else np.zeros(0, np.bool_)
        last = int(np.flatnonzero(known)[-1]) + 1 if known.any() else 0
    names = ", ".join(source.path for source in sources)
    found = dict(kept) or truth
    return Comparison(
        truth=found,
        conventional=conventional,
        n_conventional=last,
        sources=tuple(placed),
        note=_note(
            found, "kept branches" if kept else f"the input {names}", "The input has no truth."
        ),
    )


def _place(
    columns: dict[str, FloatArray], part: Mapping[str, FloatArray], rows: slice, length: int
) -> None:
    for name, values in part.items():
        columns.setdefault(name, np.full(length, np.nan))[rows] = values


def _wrong_length(path: str, entries: int, expected: int) -> InputError:
    return InputError(
        f"the input has {entries} events up to this file, the results have {expected}",
        where=path,
        fix="Give the file the results were made of with --events.",
    )


def _require_same_events(
    batch: EventBatch, results: Results, rows: slice, path: str, file: EventFile
) -> None:
    numbers = [(file.branches.run, batch.run, results.run)]
    numbers.append((file.branches.event, batch.event, results.event))
    for branch, mine, theirs in numbers:
        if branch is not None and not np.array_equal(mine, theirs[rows]):
            raise InputError(
                f"the numbers in '{branch}' differ from the results near entry {rows.start}",
                where=path,
                fix="Give the file the results were made of with --events.",
            )


def _truth_arrays(columns: Mapping[str, NDArray[Any]]) -> dict[str, FloatArray]:
    """Map truth branches among columns to arrays by result name; 1e10 and the like are NaN."""
    arrays: dict[str, FloatArray] = {}
    for task, branch in find_truth(columns).items():
        names = COMPONENTS.get(task, ())
        values = np.asarray(columns[branch], dtype=np.float64)
        values = np.where(np.abs(values) < c.INVALID_ABOVE, values, np.nan)
        values = values[:, None] if values.ndim == 1 else values
        if values.ndim == 2 and values.shape[1] == len(names):
            arrays |= dict(zip(names, values.T, strict=True))
    return arrays


def _inputs_of(provenance: Mapping[str, Any]) -> list[Source]:
    """Return the input the provenance names, or the inputs of a joint file."""
    given = provenance.get("inputs", [provenance.get("input")])
    records = given if isinstance(given, list) else []
    sources = []
    for record in records:
        if not isinstance(record, dict) or not isinstance(record.get("path"), str):
            return []
        tree = record.get("tree")
        sources.append(Source(record["path"], tree if isinstance(tree, str) else None))
    return sources


def _note(truth: Mapping[str, FloatArray], origin: str, reason: str) -> str:
    if truth:
        return f"Truth is taken from {origin}."
    return f"There is no truth to compare with, so distributions only. {reason}"
