"""The checkpoint behind a bundle, run by torch; needs the ``train`` extra."""

from __future__ import annotations

from os import PathLike

import numpy as np
import torch
from numpy.typing import NDArray

from xec_deploy.bundle import Bundle
from xec_deploy.errors import BundleError
from xec_deploy.export.graph import DeployedRegressor
from xec_deploy.parity.metrics import Outputs
from xec_deploy.parity.reference import Run
from xec_train.checkpoint import load_regressor
from xec_train.models import TaskName

__all__ = ["checkpoint_run"]


def checkpoint_run(bundle: Bundle, checkpoint: str | PathLike[str], *, double: bool = False) -> Run:
    """Return a function that runs raw events as the bundle does.

    Parameters
    ----------
    bundle
        Says what the checkpoint of a research model leaves out.
    checkpoint
        The file.
    double
        Compute in float64.

    Raises
    ------
    BundleError
        If it cannot be loaded, or has other tasks.
    """
    manifest = bundle.manifest
    logarithmic: tuple[TaskName, ...] = tuple(
        name  # type: ignore[misc]  # names of tasks, as the manifest spells them
        for name, task in manifest.tasks.items()
        if task.log_transform
    )
    loaded = load_regressor(checkpoint, layout=manifest.layout, log_transform=logarithmic)
    tasks = list(loaded.model.config.active_tasks)
    if tasks != list(manifest.tasks):
        raise BundleError(
            f"other tasks than the bundle's: {', '.join(tasks)}",
            where=str(checkpoint),
            fix=f"Pass the checkpoint of {manifest.name!r}, with {', '.join(manifest.tasks)}.",
        )
    dtype = torch.float64 if double else torch.float32
    module = DeployedRegressor(loaded.model, loaded.normalisation, loaded.log_transform)
    module = module.eval().to(dtype)

    def run(
        npho: NDArray[np.float32], time: NDArray[np.float32], dead: NDArray[np.bool_]
    ) -> Outputs:
        with torch.inference_mode():
            outputs = module(
                torch.from_numpy(npho).to(dtype),
                torch.from_numpy(time).to(dtype),
                torch.from_numpy(dead),
            )
        return {
            name: value.numpy() for name, value in zip(manifest.output_names, outputs, strict=True)
        }

    return run
