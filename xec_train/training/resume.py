"""What ``checkpoint.resume_from`` means: to go on, or to start from weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from xec_deploy.errors import UsageError
from xec_train.checkpoint import Kind, open_checkpoint
from xec_train.checkpoint.contents import detect_kind
from xec_train.config.sections import CheckpointConfig

__all__ = ["Resume", "find_resume"]

PLACE: Final = "loops"
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


def find_resume(options: CheckpointConfig, kind: Kind) -> Resume | None:
    """Return the training to continue; None for a new one, be it from weights.

    ======================  ==================================================================
    ``resume_from`` null    a new training from random weights
    a training of ``kind``  is continued: weights, averages, optimiser, schedule, place in the
                            data, log
    with ``reset_epoch``    a new training from its weights
    weights of any kind     a new training from them, as far as they fit
    ======================  ==================================================================

    Raises
    ------
    BundleError
        If the file is absent or not a checkpoint.
    UsageError
        If it holds a training of the research code, which cannot be continued.
    """
    if options.resume_from is None:
        return None
    path = Path(options.resume_from)
    content = open_checkpoint(path)
    if options.reset_epoch:
        return None
    if PLACE not in content:
        if "optimizer_state_dict" in content and detect_kind(_state(content)) == kind:
            raise UsageError(
                "the checkpoint does not say where in the data its training stood",
                where=str(path),
                fix="Start a new training from its weights with checkpoint.reset_epoch.",
            )
        return None
    if content.get("kind") != kind:
        return None
    run = None if options.new_mlflow_run else content.get("mlflow_run_id")
    return Resume(path, int(content["global_step"]), run)


def _state(content: Mapping[str, Any]) -> Mapping[str, Any]:
    state = content.get("model_state_dict")
    return state if isinstance(state, Mapping) else {}
