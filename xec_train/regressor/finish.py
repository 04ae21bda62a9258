"""What a finished training leaves behind: an evaluation of its best checkpoint, a bundle."""

from __future__ import annotations

from pathlib import Path

import torch

from xec_deploy.events import expand_inputs, find_truth, open_events
from xec_deploy.export import export_bundle
from xec_train.checkpoint import load_regressor
from xec_train.config import RegressorConfig
from xec_train.data import EventStream
from xec_train.evaluation import EvaluationConfig, evaluate_model
from xec_train.evaluation.limits import simulation_of
from xec_train.models import TASK_DIMENSIONS, TaskName

__all__ = ["EVALUATION", "finish_training"]

EVALUATION = "evaluation"
"""Folder of predictions, metrics and plots, in that of the results."""


def finish_training(config: RegressorConfig, best: Path, device: torch.device) -> None:
    """Evaluate the best checkpoint on the validation events, and export it, as configured."""
    if config.checkpoint.save_artifacts:
        loaded = load_regressor(best)
        files = [item.path for item in expand_inputs(list(config.data.val_path))]
        simulation, _ = simulation_of(files)
        validation = EventStream(
            config.data.val_path,
            config.data,
            _with_axes(config, files[0]),
            shuffle=False,
            max_events=config.data.val_events,
            rank=0,
            world=1,
        )
        evaluate_model(
            loaded.model,
            loaded.normalisation,
            loaded.log_transform,
            validation,
            config.directory / EVALUATION,
            name="best",
            device=device,
            config=EvaluationConfig(against="simple"),
            simulation=simulation,
            provenance={"checkpoint": str(best), "recipe": config.model_dump(mode="json")},
        )
    if config.export.bundle is not None:
        export_bundle(best, config.directory / config.export.bundle)


def _with_axes(config: RegressorConfig, path: str) -> list[TaskName]:
    """Return the tasks, and those whose truth resolutions are shown against where there is one."""
    data = config.data
    with open_events(path, npho_branch=data.npho_branch, time_branch=data.time_branch) as events:
        known = {*find_truth(events.names), *data.truth} & {"energy", "uvwFI"}
    return [task for task in TASK_DIMENSIONS if task in known or task in config.active_tasks]
