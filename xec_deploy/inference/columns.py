"""From the graph's outputs to the branches of the result tree."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from xec_deploy.backends import Backend
from xec_deploy.bundle import Manifest
from xec_deploy.detector import N_SENSORS, uvw_to_xyz
from xec_deploy.events import Column, EventBatch
from xec_deploy.inference.status import Status

__all__ = ["evaluate", "result_columns"]

FIXED_COLUMNS: Final[dict[str, Column]] = {
    "run": Column("i4"),
    "event": Column("i8"),
    "status": Column(
        "i4",
        description="0 good; bits 1 inpainted, 2 too many dead, 4 no valid "
        "input, 8 outside the training range, 16 unreadable",
    ),
    "n_dead": Column("i4", description="dead or invalid channels"),
    "n_inpainted": Column("i4", description="channels filled before the network"),
}
BRANCH_ORDER: Final[tuple[str, ...]] = (
    "energy",
    "theta",
    "phi",
    "timing",
    "u",
    "v",
    "w",
    "x",
    "y",
    "z",
)


def result_columns(manifest: Manifest) -> dict[str, Column]:
    """Return the branches of the result tree, without passed-through ones."""
    values: dict[str, Column] = {}
    sigmas: dict[str, Column] = {}
    for record in manifest.tasks.values():
        for output in record.outputs:
            values[output.name] = Column("f4", output.unit)
            if record.has_sigma:
                sigmas[f"{output.name}_sigma"] = Column("f4", output.unit)
    if "uvwFI" in manifest.tasks:
        values.update({axis: Column("f4", "cm") for axis in "xyz"})
    ordered: dict[str, Column] = {name: values[name] for name in BRANCH_ORDER if name in values}
    return {**FIXED_COLUMNS, **ordered, **values, **sigmas}


def evaluate(manifest: Manifest, backend: Backend, batch: EventBatch) -> dict[str, NDArray[Any]]:
    """Run a batch and return the rows of :func:`result_columns`.

    Values that could not be computed are NaN and their status says why.
    """
    outputs = backend.run(batch.npho, batch.time, batch.dead)
    values = _named_values(manifest, outputs)
    n_dead = batch.dead.sum(axis=1)
    status = np.zeros(len(batch), dtype=np.int32)
    status[n_dead > manifest.dead_channels.max_dead] |= Status.TOO_MANY_DEAD
    status[n_dead == N_SENSORS] |= Status.NO_VALID_INPUT
    status[~batch.readable] = Status.UNREADABLE
    unusable = status != 0
    # A finite input can still overflow the network (a channel with 1e9 photons): not a number
    # the network was trained to give.
    finite = np.all([np.isfinite(array) for array in values.values()], axis=0)
    status[~unusable & ~finite] |= Status.OUTSIDE_TRAINING
    for array in values.values():
        array[unusable | ~finite] = np.nan
    return {
        "run": batch.run,
        "event": batch.event,
        "status": status,
        "n_dead": n_dead,
        "n_inpainted": np.zeros(len(batch), dtype=np.int32),
        **values,
    }


def _named_values(
    manifest: Manifest, outputs: Mapping[str, NDArray[np.float32]]
) -> dict[str, NDArray[np.float32]]:
    values: dict[str, NDArray[np.float32]] = {}
    for task, record in manifest.tasks.items():
        for component, output in enumerate(record.outputs):
            values[output.name] = outputs[task][:, component].copy()
            if record.has_sigma:
                sigma = outputs[f"{task}_sigma"][:, component].copy()
                values[f"{output.name}_sigma"] = sigma
    if "uvwFI" in manifest.tasks:
        xyz = uvw_to_xyz(outputs["uvwFI"]).astype(np.float32)
        values.update({axis: xyz[:, index].copy() for index, axis in enumerate("xyz")})
    return values
