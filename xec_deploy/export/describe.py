"""What a bundle's manifest says of the checkpoints behind it."""

from __future__ import annotations

from typing import Any, Literal

from xec_deploy import __version__
from xec_deploy.bundle import TASK_OUTPUTS, DeadChannelPolicy, Manifest, TaskRecord
from xec_deploy.bundle.manifest import InpainterRecord, Kind
from xec_deploy.export.source import Checkpoint
from xec_train.checkpoint import InpainterCheckpoint, RegressorCheckpoint
from xec_train.models import TaskName

__all__ = ["describe"]


def describe(
    source: Checkpoint,
    inpainter: InpainterCheckpoint | None,
    name: str,
    log_transform: tuple[TaskName, ...] | None,
    io: Literal["raw", "legacy"],
    max_dead: int,
) -> Manifest:
    """Return the manifest of a bundle, without graphs.

    Parameters
    ----------
    source
        What is exported.
    inpainter
        What is put ahead of it.
    name
        Of the bundle.
    log_transform
        Tasks given as logarithmic; None for what the checkpoint says.
    io, max_dead
        See :func:`~xec_deploy.export.export_bundle`.
    """
    kind: Kind = "encoder"
    tasks = {}
    if isinstance(source, RegressorCheckpoint):
        kind = "regressor"
        config = source.model.config
        logarithmic = source.log_transform if log_transform is None else log_transform
        tasks = {
            task: TaskRecord(
                outputs=TASK_OUTPUTS[task],
                has_sigma=task in config.nll_tasks,
                log_transform=task in logarithmic,
            )
            for task in config.active_tasks
        }
    elif isinstance(source, InpainterCheckpoint):
        kind = "inpainter"
    inpainted = kind == "inpainter" or inpainter is not None
    assert source.normalisation is not None  # noqa: S101 - nothing is left open
    return Manifest(
        kind=kind,
        name=name,
        producer=f"xec-deploy {__version__}",
        io=io,
        layout=source.layout,
        normalisation=source.normalisation,
        tasks=tasks,
        dead_channels=DeadChannelPolicy(
            method="inpainted" if inpainted else "encoded", max_dead=max_dead
        ),
        inpainter=_inpainter(inpainter) if inpainter is not None else None,
        checkpoint=_origin(source),
        training=source.training,
    )


def _inpainter(source: InpainterCheckpoint) -> InpainterRecord:
    return InpainterRecord(
        layout=source.layout,
        normalisation=source.normalisation,
        fills_time="time" in source.model.config.predict_channels,
        checkpoint=_origin(source),
        training=source.training,
    )


def _origin(source: Checkpoint) -> dict[str, Any]:
    return {
        "sha256": source.sha256,
        "weights": source.weights,
        "model": source.architecture.model_dump(mode="json"),
    }
