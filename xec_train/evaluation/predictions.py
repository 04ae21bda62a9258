"""Predictions as files: one ROOT tree a network, and CSV on request."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from xec_deploy.bundle import TASK_OUTPUTS
from xec_deploy.events import Column, ResultWriter
from xec_train.evaluation.quantities import CLASS_TRUTH
from xec_train.evaluation.sample import Sample

__all__ = ["PREDICTION_TREE", "prediction_columns", "write_csv", "write_root"]

PREDICTION_TREE: Final = "predictions"
UNITS: Final = {output.name: output.unit for outputs in TASK_OUTPUTS.values() for output in outputs}
Rows = dict[str, NDArray[Any]]


def prediction_columns(
    sample: Sample, network: str, conventional: Sequence[str]
) -> tuple[dict[str, Column], Rows]:
    """Return branches and values of a network's predictions, in the order of the file.

    ``run``, ``event``, ``n_dead``, then for each output NAME: ``NAME`` and, where known,
    ``NAME_sigma``, ``NAME_truth`` and ``NAME_<method>`` of each conventional method; ``n_gamma``
    is the most likely class.
    """
    columns = {
        "run": Column("i4"),
        "event": Column("i8"),
        "n_dead": Column("i4", description="dead or invalid channels"),
    }
    rows: Rows = {"run": sample.run, "event": sample.event, "n_dead": sample.base.n_dead}
    found = sample.base.estimates[network]
    scores = [name for name in found.values if name.startswith("n_gamma_")]
    for name, values in found.values.items():
        unit = UNITS[name]
        entries = {name: values}
        if name in found.sigmas:
            entries[f"{name}_sigma"] = found.sigmas[name]
        if name in sample.truth:
            entries[f"{name}_truth"] = sample.truth[name]
        for method in conventional:
            other = sample.base.estimates[method].values
            if name in other:
                entries[f"{name}_{method}"] = other[name]
        columns |= dict.fromkeys(entries, Column("f4", unit))
        rows |= entries
    if scores:
        logits = np.stack([found.values[name] for name in scores], axis=1)
        columns["n_gamma"] = Column("i4", description="most likely number of photons")
        rows["n_gamma"] = np.where(np.isfinite(logits).all(axis=1), logits.argmax(axis=1), -1)
        if CLASS_TRUTH in sample.truth:
            columns["n_gamma_truth"] = Column("i4", description="true number of photons")
            rows["n_gamma_truth"] = sample.truth[CLASS_TRUTH].astype(np.int32)
    return columns, rows


def write_root(
    path: str | os.PathLike[str],
    columns: Mapping[str, Column],
    rows: Rows,
    provenance: Mapping[str, Any],
) -> None:
    """Write the tree ``predictions`` and the TObjString ``provenance``, complete or not at all.

    Raises
    ------
    UsageError, InputError
        If the file cannot be written.
    """
    with ResultWriter(
        path, columns, tree=PREDICTION_TREE, title="predictions on events with truth"
    ) as writer:
        writer.extend(rows)
        writer.commit(provenance, expected_entries=len(rows["run"]))


def write_csv(path: str | os.PathLike[str], columns: Mapping[str, Column], rows: Rows) -> None:
    """Write the same as CSV, with units in the head: ``energy [GeV]``."""
    part = Path(f"{os.fspath(path)}.part")
    with part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(
            f"{name} [{column.unit}]" if column.unit else name for name, column in columns.items()
        )
        # str of a float32 is the shortest text that reads back as the same number.
        writer.writerows(zip(*(rows[name].astype(str) for name in columns), strict=True))
    part.replace(path)
