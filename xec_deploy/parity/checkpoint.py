"""The checkpoint behind a bundle, run by torch; needs the ``train`` extra."""

from __future__ import annotations

from os import PathLike

import numpy as np
import torch
from numpy.typing import NDArray

from xec_deploy.bundle import Bundle, Manifest
from xec_deploy.errors import BundleError, UsageError
from xec_deploy.export.describe import describe
from xec_deploy.export.models import Deployed
from xec_deploy.export.source import Checkpoint, deployed_module
from xec_deploy.parity.metrics import Outputs
from xec_deploy.parity.reference import Run
from xec_train.checkpoint import load_checkpoint
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
    UsageError
        If the bundle comes of more than one checkpoint.
    """
    manifest = bundle.manifest
    if manifest.inpainter is not None:
        raise UsageError(
            "a regressor with an inpainter comes of two checkpoints",
            where=str(bundle.path),
            fix="Leave --checkpoint out: the fp32 graph in float64 is the reference then.",
        )
    loaded = _load(manifest, checkpoint)
    logarithmic: tuple[TaskName, ...] = tuple(
        name  # type: ignore[misc]  # names of tasks, as the manifest spells them
        for name, task in manifest.tasks.items()
        if task.log_transform
    )
    found = describe(loaded, None, manifest.name, logarithmic, "raw", 0)
    if (found.kind, list(found.tasks)) != (manifest.kind, list(manifest.tasks)):
        raise BundleError(
            f"other tasks than the bundle's: {', '.join(found.tasks) or found.kind}",
            where=str(checkpoint),
            fix=f"Pass the checkpoint of {manifest.name!r}, with "
            f"{', '.join(manifest.tasks) or manifest.kind}.",
        )
    dtype = torch.float64 if double else torch.float32
    module = Deployed(manifest, deployed_module(loaded, logarithmic)).to(dtype)

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


def _load(manifest: Manifest, path: str | PathLike[str]) -> Checkpoint:
    """Load a checkpoint; what it leaves open is what the bundle was exported with."""
    loaded = load_checkpoint(path, layout=manifest.layout)
    if not loaded.assumed and loaded.normalisation is not None:
        return loaded
    known = {**manifest.checkpoint.get("model", {}), **manifest.normalisation.model_dump()}
    keys = loaded.assumed or tuple(type(manifest.normalisation).model_fields)
    config = {key: known[key] for key in keys if key in known}
    return load_checkpoint(path, layout=manifest.layout, config=config)
