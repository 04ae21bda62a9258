"""From the graph's outputs to the branches of the result tree."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from xec_deploy.backends import Backend
from xec_deploy.bundle import Manifest
from xec_deploy.detector import N_SENSORS, uvw_to_xyz
from xec_deploy.detector.constants import INVALID_ABOVE
from xec_deploy.errors import UsageError
from xec_deploy.events import Column, EventBatch
from xec_deploy.inference.status import Status
from xec_deploy.inpaint.neighbourhood import adjacent_sensors

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
FILLED: Final = "npho_filled"
"""What an inpainter gives: all channels, the dead ones filled [photons]."""
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
    """Return the branches of the result tree, without passed-through ones.

    Raises
    ------
    UsageError
        If the model gives nothing that belongs in a tree.
    """
    if manifest.kind == "inpainter":
        return {**FIXED_COLUMNS, FILLED: Column("f4", "photons", (N_SENSORS,))}
    if manifest.kind != "regressor":
        raise UsageError(
            f"{manifest.name} is an {manifest.kind}, which gives no physics numbers",
            fix="Pass a bundle of a regressor or an inpainter.",
        )
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


def evaluate(
    manifest: Manifest, backend: Backend, batch: EventBatch, inpainting: str = "none"
) -> dict[str, NDArray[Any]]:
    """Run a batch and return the rows of :func:`result_columns`.

    Values that could not be computed are NaN and their status says why.

    Parameters
    ----------
    manifest, backend
        The model and the engine that has it.
    batch
        Events.
    inpainting
        How the engine's graph fills dead channels, see :meth:`xec_deploy.bundle.Bundle.graph`.
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
    finite = np.all(
        [np.isfinite(array).reshape(len(batch), -1).all(axis=1) for array in values.values()],
        axis=0,
    )
    status[~unusable & ~finite] |= Status.OUTSIDE_TRAINING
    n_inpainted = _count_inpainted(batch, n_dead, inpainting)
    n_inpainted[unusable | ~finite] = 0
    status[n_inpainted > 0] |= Status.INPAINTED
    for array in values.values():
        array[unusable | ~finite] = np.nan
    return {
        "run": batch.run,
        "event": batch.event,
        "status": status,
        "n_dead": n_dead,
        "n_inpainted": n_inpainted,
        **values,
    }


def _count_inpainted(
    batch: EventBatch, n_dead: NDArray[np.int64], inpainting: str
) -> NDArray[np.int64]:
    """Count the dead channels that the graph fills: all, or those with a live neighbour."""
    if inpainting == "none":
        return np.zeros_like(n_dead)
    if inpainting == "model":
        return n_dead.copy()
    event, sensor = np.nonzero(batch.dead)
    live = np.zeros((len(batch), N_SENSORS + 1), bool)
    live[:, :N_SENSORS] = ~batch.dead & (batch.npho >= -INVALID_ABOVE)
    filled = live[event[:, np.newaxis], adjacent_sensors()[sensor]].any(axis=1)
    return np.bincount(event[filled], minlength=len(batch))


def _named_values(
    manifest: Manifest, outputs: Mapping[str, NDArray[np.float32]]
) -> dict[str, NDArray[np.float32]]:
    if manifest.kind == "inpainter":
        return {FILLED: outputs[FILLED].copy()}
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
