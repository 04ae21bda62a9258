"""One command from checkpoint to verified bundle."""

from __future__ import annotations

import tempfile
from os import PathLike
from pathlib import Path
from typing import Final

import numpy as np
import torch

from xec_deploy import __version__
from xec_deploy.bundle import (
    FP32_GATE,
    TASK_OUTPUTS,
    Bundle,
    DeadChannelPolicy,
    GoldenEvents,
    Manifest,
    TaskRecord,
    compare_with_golden,
    write_bundle,
)
from xec_deploy.detector.constants import N_SENSORS
from xec_deploy.detector.layout import LayoutName
from xec_deploy.errors import UsageError, nearest
from xec_deploy.export.graph import DeployedRegressor
from xec_deploy.export.to_onnx import export_onnx
from xec_deploy.simulation import BLOCK_EVENTS, SimulationConfig, simulate
from xec_train.checkpoint import RegressorCheckpoint, load_regressor
from xec_train.models import TaskName

__all__ = ["BUNDLE_SUFFIX", "export_bundle"]

BUNDLE_SUFFIX: Final = ".xec"
GOLDEN_EVENTS: Final = 32
GOLDEN_SEED: Final = 20260101
MAX_DEAD_FRACTION: Final = 0.1
"""Default bound: research models are trained with up to a tenth of their channels missing."""


def export_bundle(
    checkpoint: str | PathLike[str],
    output: str | PathLike[str],
    *,
    layout: LayoutName | None = None,
    log_transform: tuple[TaskName, ...] | None = None,
    max_dead: int = int(MAX_DEAD_FRACTION * N_SENSORS),
) -> Bundle:
    """Export a regressor checkpoint to a bundle and verify it.

    The graph takes raw npho, time and dead flags and returns physical quantities.  All golden
    events are run through ONNX Runtime and compared with torch in float64 before the bundle
    gets its name.

    Parameters
    ----------
    checkpoint
        File of the trainer or of the research code.
    output
        Folder to write, ``NAME.xec``.
    layout, log_transform
        See :func:`xec_train.checkpoint.load_regressor`.
    max_dead
        Events with more dead channels get no numbers.

    Raises
    ------
    UsageError
        If the output or an option makes no sense.
    BundleError
        If the checkpoint cannot be used.
    CheckFailed
        If the exported graph does not reproduce float64 within the fp32 gate.
    """
    folder = Path(output)
    if folder.suffix != BUNDLE_SUFFIX:
        raise UsageError(
            f"a bundle's name ends in {BUNDLE_SUFFIX!r}",
            where=str(output),
            fix="Rename the output.",
        )
    if folder.exists() and not (folder / "manifest.json").is_file():
        raise UsageError(
            "exists and is not a bundle", where=str(output), fix="Choose another output."
        )
    if max_dead < 0:
        raise UsageError(f"max_dead is {max_dead}", fix="Pass 0 or more.")
    loaded = load_regressor(checkpoint, layout=layout, log_transform=log_transform)
    idle = [task for task in loaded.log_transform if task not in loaded.model.config.active_tasks]
    if idle:
        raise UsageError(
            f"log transform of {idle[0]!r}, which the checkpoint was not trained for",
            where=str(checkpoint),
            fix=nearest(idle[0], loaded.model.config.active_tasks),
        )
    manifest = _manifest(loaded, folder.stem, max_dead)
    module = DeployedRegressor(loaded.model, loaded.normalisation, loaded.log_transform).eval()
    with tempfile.TemporaryDirectory() as scratch:
        graph = Path(scratch) / "fp32.onnx"
        export_onnx(module, manifest.output_names, manifest, graph)
        golden = _golden_events(module, manifest)
        # Verified elsewhere first: a graph that fails must not replace a bundle that works.
        candidate = write_bundle(Path(scratch) / folder.name, manifest, {"fp32": graph}, golden)
        outputs = candidate.run(golden.npho, golden.time, golden.dead, backend="onnxruntime")
        compare_with_golden(manifest, golden, outputs, where=str(folder), gate=FP32_GATE)
        return write_bundle(folder, manifest, {"fp32": graph}, golden)


def _manifest(checkpoint: RegressorCheckpoint, name: str, max_dead: int) -> Manifest:
    config = checkpoint.model.config
    return Manifest(
        name=name,
        producer=f"xec-deploy {__version__}",
        layout=checkpoint.layout,
        normalisation=checkpoint.normalisation,
        tasks={
            task: TaskRecord(
                outputs=TASK_OUTPUTS[task],
                has_sigma=task in config.nll_tasks,
                log_transform=task in checkpoint.log_transform,
            )
            for task in config.active_tasks
        },
        dead_channels=DeadChannelPolicy(max_dead=max_dead),
        checkpoint={
            "sha256": checkpoint.sha256,
            "weights": checkpoint.weights,
            "model": config.model_dump(mode="json"),
        },
        training=checkpoint.training,
    )


def _golden_events(module: DeployedRegressor, manifest: Manifest) -> GoldenEvents:
    """Simulate golden events, adversarial ones among them, and compute them in float64."""
    config = SimulationConfig(seed=GOLDEN_SEED, dead_fraction_max=0.08)
    events = next(iter(simulate(config, BLOCK_EVENTS, threads=1)))
    npho, time = (
        np.array(events[name][:GOLDEN_EVENTS], dtype=np.float32)
        for name in ("npho", "relative_time")
    )
    dead = np.array(events["dead"][:GOLDEN_EVENTS], dtype=bool)
    random = np.random.default_rng(GOLDEN_SEED)
    dead[0] = False
    dead[1, :64] = True  # four neighbouring boards
    for row, value in ((2, np.nan), (3, np.inf), (4, -np.inf), (5, 1e10), (6, -500.0)):
        npho[row, random.integers(0, N_SENSORS, 40)] = value
    for row, value in ((7, np.nan), (8, np.inf), (9, -1e10), (10, 1.0)):
        time[row, random.integers(0, N_SENSORS, 40)] = value
    reference = DeployedRegressor(module.model.double(), module.normalisation, module.log_transform)
    # The model is shared with the (already exported) module; the caller does not use it again.
    with torch.no_grad():
        outputs = reference(
            torch.from_numpy(npho).double(), torch.from_numpy(time).double(), torch.from_numpy(dead)
        )
    return GoldenEvents(
        npho,
        time,
        dead,
        {name: value.numpy() for name, value in zip(manifest.output_names, outputs, strict=True)},
    )
