"""What ``checkpoint.resume_from`` means: to go on, or to start from weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xec_deploy.errors import UsageError
from xec_train.checkpoint import open_checkpoint
from xec_train.config.sections import CheckpointConfig

__all__ = ["Resume", "find_resume"]

OURS = "loops"
"""Key of the place in the training, which only checkpoints of this trainer hold."""


@dataclass(frozen=True)
class Resume:
    """A training to continue.

    Attributes
    ----------
    path
        Its checkpoint.
    step
        Steps of the optimiser it has done.
    mlflow_run_id
        The run it logs to; None for a new one.
    """

    path: Path
    step: int
    mlflow_run_id: str | None


def find_resume(options: CheckpointConfig) -> tuple[Resume | None, Mapping[str, Any] | None]:
    """Return the training to continue, or the content of a checkpoint to take weights from.

    ======================  ==================================================================
    ``resume_from`` null    neither: a new training
    a checkpoint of this    the training to continue: weights, averages, optimiser, schedule,
    trainer                 place in the data and log
    with ``reset_epoch``    the content: a new training from its weights
    of an MAE or encoder    the content
    ======================  ==================================================================

    Raises
    ------
    BundleError
        If the file is absent or not a checkpoint.
    UsageError
        If the file holds a training of the research code, which cannot be continued.
    """
    if options.resume_from is None:
        return None, None
    path = Path(options.resume_from)
    content = open_checkpoint(path)
    if options.reset_epoch:
        return None, content
    if OURS not in content:
        if "optimizer_state_dict" in content and _has_heads(content):
            raise UsageError(
                "the checkpoint does not say where in the data its training stood",
                where=str(path),
                fix="Start a new training from its weights with checkpoint.reset_epoch.",
            )
        return None, content
    run = None if options.new_mlflow_run else content.get("mlflow_run_id")
    return Resume(path, int(content["global_step"]), run), content


def _has_heads(content: Mapping[str, Any]) -> bool:
    state = content.get("model_state_dict")
    return isinstance(state, Mapping) and any(name.startswith("heads.") for name in state)
