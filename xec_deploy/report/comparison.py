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


@dataclass(frozen=True, eq=False)
class Comparison:
    """What results are compared with, by result name, each (n,) float64 in the branch's unit.

    Attributes
    ----------
    truth
        NaN where unknown; empty without any truth.
    conventional
        Simple estimates; NaN beyond the events they were made for; empty without the input.
    n_conventional
        Events with conventional estimates.
    events
        The input file, None if it is not there.
    note
        One sentence saying where truth came from, or why there is none.
    """

    truth: Mapping[str, FloatArray]
    conventional: Mapping[str, FloatArray]
    n_conventional: int
    events: str | None
    tree: str | None
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
    """One raw event: entry, photons (4760,) float32 and dead channels (4760,) bool."""

    entry: int
    npho: NDArray[np.float32]
    dead: NDArray[np.bool_]


def compare(
    results: Results, *, events: Path | None = None, conventional_events: int = 20_000
) -> Comparison:
    """Find truth and make conventional estimates.

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
    path, tree = (str(events), None) if events else _input_of(results.provenance)
    if path is None:
        note = "The results do not name their input."
        return Comparison(kept, {}, 0, None, None, _note(kept, "kept branches", note))
    try:
        return _from_input(results, kept, path, tree, conventional_events)
    except XecError as error:
        if events:
            raise
        logger.warning("%s", error)
        return Comparison(kept, {}, 0, None, None, _note(kept, "kept branches", f"{error}"))


def take_snapshots(comparison: Comparison, entries: Iterable[int]) -> list[Snapshot]:
    """Read some events of the input again, for display; none without the input."""
    snapshots: list[Snapshot] = []
    if comparison.events is None:
        return snapshots
    with open_events(comparison.events, tree=comparison.tree) as file:
        for entry in entries:
            for batch in file.batches(1, entry, entry + 1):
                snapshots.append(Snapshot(entry, batch.npho[0].copy(), batch.dead[0].copy()))
    return snapshots


def _from_input(
    results: Results,
    kept: Mapping[str, FloatArray],
    path: str,
    tree: str | None,
    conventional_events: int,
) -> Comparison:
    with open_events(path, tree=tree) as plain:
        names = find_truth(plain.names)
    wanted = [name for task, name in names.items() if task in COMPONENTS]
    with open_events(path, tree=tree, keep=wanted) as file:
        _require_same_length(file, results)
        n_conventional = min(conventional_events, len(results))
        # Without truth to read, the rest of the file would be read for nothing.
        stop = len(results) if wanted else n_conventional
        truth: dict[str, list[FloatArray]] = {}
        estimates: dict[str, list[FloatArray]] = {}
        for batch in file.batches(BATCH_EVENTS, 0, stop):
            _require_same_events(batch, results, path, file.branches.run is not None)
            for name, array in _truth_arrays(batch.extra).items():
                truth.setdefault(name, []).append(array)
            if batch.entry_start < n_conventional:
                simple = estimate(batch.npho, batch.time, batch.dead)
                for name, array in simple.to_dict().items():
                    estimates.setdefault(name, []).append(array)
    found = dict(kept) or {name: np.concatenate(parts) for name, parts in truth.items()}
    origin = "kept branches" if kept else f"the input {path}"
    return Comparison(
        truth=found,
        conventional={name: _pad(parts, len(results)) for name, parts in estimates.items()},
        n_conventional=len(np.concatenate(estimates["energy"])) if estimates else 0,
        events=path,
        tree=tree,
        note=_note(found, origin, "The input has no truth."),
    )


def _require_same_length(file: EventFile, results: Results) -> None:
    if file.num_entries != len(results):
        raise InputError(
            f"the input has {file.num_entries} events, the results have {len(results)}",
            where=file.path,
            fix="Give the file the results were made of with --events.",
        )


def _require_same_events(
    batch: EventBatch, results: Results, path: str, has_numbers: bool
) -> None:
    rows = slice(batch.entry_start, batch.entry_start + len(batch))
    if has_numbers and not (
        np.array_equal(batch.run, results.run[rows])
        and np.array_equal(batch.event, results.event[rows])
    ):
        raise InputError(
            f"run or event numbers differ from the results near entry {batch.entry_start}",
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
        values = values.reshape(len(values), -1)
        if values.shape[1] == len(names):
            arrays |= dict(zip(names, values.T, strict=True))
    return arrays


def _pad(parts: list[FloatArray], length: int) -> FloatArray:
    known = np.concatenate(parts)
    padded = np.full(length, np.nan)
    padded[: len(known)] = known
    return padded


def _input_of(provenance: Mapping[str, Any]) -> tuple[str | None, str | None]:
    given = provenance.get("input")
    if not isinstance(given, dict) or not isinstance(given.get("path"), str):
        return None, None
    tree = given.get("tree")
    return given["path"], tree if isinstance(tree, str) else None


def _note(truth: Mapping[str, FloatArray], origin: str, reason: str) -> str:
    if truth:
        return f"Truth is taken from {origin}."
    return f"There is no truth to compare with, so distributions only. {reason}"
