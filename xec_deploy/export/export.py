"""One command from checkpoint to verified bundle."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any, Final, Literal

from xec_deploy.bundle import FP32_GATE, Bundle, compare_with_golden, write_bundle
from xec_deploy.detector.constants import N_SENSORS
from xec_deploy.detector.layout import LayoutName
from xec_deploy.errors import UsageError, nearest
from xec_deploy.export.describe import describe
from xec_deploy.export.golden import golden_events, run_float64
from xec_deploy.export.graph import DeployedInpainter
from xec_deploy.export.models import Deployed, write_graphs
from xec_deploy.export.source import (
    Checkpoint,
    deployed_module,
    open_inpainter,
    open_source,
)
from xec_train.checkpoint import InpainterCheckpoint, RegressorCheckpoint
from xec_train.models import TaskName

__all__ = ["BUNDLE_SUFFIX", "export_bundle"]

BUNDLE_SUFFIX: Final = ".xec"
MAX_DEAD_FRACTION: Final = 0.1
"""Default bound: research models are trained with up to a tenth of their channels missing."""


def export_bundle(
    checkpoint: str | PathLike[str],
    output: str | PathLike[str],
    *,
    layout: LayoutName | None = None,
    log_transform: tuple[TaskName, ...] | None = None,
    config: Mapping[str, Any] | None = None,
    inpainter: str | PathLike[str] | None = None,
    inpainter_layout: LayoutName | None = None,
    inpainter_config: Mapping[str, Any] | None = None,
    io: Literal["raw", "legacy"] = "raw",
    parts: bool = False,
    max_dead: int = int(MAX_DEAD_FRACTION * N_SENSORS),
) -> Bundle:
    """Export a checkpoint of any kind to a bundle and verify it.

    The graph takes raw npho, time and dead flags.  A regressor gives physical quantities, an
    inpainter ``npho_filled`` [photons], a masked autoencoder or encoder ``tokens``.  All golden
    events are run through ONNX Runtime and compared with torch in float64 before the bundle
    gets its name.

    Parameters
    ----------
    checkpoint
        File of the trainer or of the research code.
    output
        Folder to write, ``NAME.xec``.
    layout
        Index maps, where the file does not state them.
    log_transform
        Tasks of a regressor whose head emits logarithms; None for what the file says.
    config
        Values of the config keys that the file does not state.  Nothing is assumed.
    inpainter, inpainter_layout, inpainter_config
        Checkpoint of an inpainter to put ahead of a regressor, and the same of it.  Its
        normalisation and layout need not be the regressor's.
    io
        ``legacy``: one input of normalised events and what the heads emit, for existing callers.
    parts
        Also write normalisation and network of a regressor as graphs of their own.
    max_dead
        Events with more dead channels get no numbers.

    Raises
    ------
    UsageError
        If the output or an option makes no sense, or the file leaves open what is not given.
    BundleError
        If the checkpoint cannot be used.
    CheckFailed
        If the exported graph does not reproduce float64 within the fp32 gate.
    """
    folder = Path(output)
    _check_output(folder, max_dead)
    source = open_source(checkpoint, layout, config)
    _check_options(source, str(checkpoint), log_transform, inpainter, io, parts)
    filler = (
        open_inpainter(inpainter, inpainter_layout, inpainter_config)
        if inpainter is not None
        else None
    )
    manifest = describe(source, filler, folder.stem, log_transform, io, max_dead)
    deployed = Deployed(manifest, deployed_module(source, log_transform), _filler(filler))
    with tempfile.TemporaryDirectory() as scratch:
        graphs, kept = write_graphs(deployed, Path(scratch), parts=parts)
        golden = golden_events(deployed.unfilled)
        reference = copy.deepcopy(deployed).double()
        outputs = run_float64(reference, golden, manifest.output_names)
        golden.outputs.update(outputs)
        # Verified elsewhere first: a graph that fails must not replace a bundle that works.
        candidate = write_bundle(Path(scratch) / folder.name, manifest, graphs, golden, kept)
        values = candidate.run(golden.npho, golden.time, golden.dead, backend="onnxruntime")
        compare_with_golden(manifest, golden, values, where=str(folder), gate=FP32_GATE)
        if filler is not None:
            # The part without it, on the golden events that have no dead channels.
            candidate.backend("onnxruntime", inpaint="none")
        return write_bundle(folder, manifest, graphs, golden, kept)


def _check_output(folder: Path, max_dead: int) -> None:
    if folder.suffix != BUNDLE_SUFFIX:
        raise UsageError(
            f"a bundle's name ends in {BUNDLE_SUFFIX!r}",
            where=str(folder),
            fix="Rename the output.",
        )
    if folder.exists() and not (folder / "manifest.json").is_file():
        raise UsageError(
            "exists and is not a bundle", where=str(folder), fix="Choose another output."
        )
    if max_dead < 0:
        raise UsageError(f"max_dead is {max_dead}", fix="Pass 0 or more.")


def _check_options(
    source: Checkpoint,
    where: str,
    log_transform: tuple[TaskName, ...] | None,
    inpainter: str | PathLike[str] | None,
    io: str,
    parts: bool,
) -> None:
    if isinstance(source, RegressorCheckpoint):
        active = source.model.config.active_tasks
        for task in log_transform or ():
            if task not in active:
                raise UsageError(
                    f"log transform of {task!r}, which the checkpoint was not trained for",
                    where=where,
                    fix=nearest(task, active),
                )
        if io == "legacy" and (inpainter is not None or parts):
            raise UsageError(
                "a graph of normalised events has neither an inpainter nor parts",
                where=where,
                fix="Leave --io legacy out, or --inpainter and --parts.",
            )
        return
    options = {
        "--log-transform": bool(log_transform),
        "--inpainter": inpainter is not None,
        "--io legacy": io == "legacy",
        "--parts": parts,
    }
    for option, given in options.items():
        if given:
            raise UsageError(
                f"{option} is for regressors, and the checkpoint is none",
                where=where,
                fix="Leave it out.",
            )


def _filler(source: InpainterCheckpoint | None) -> DeployedInpainter | None:
    return DeployedInpainter(source.model, source.normalisation) if source is not None else None
