"""Regressors that teach: their checkpoints, and what they say of events."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from xec_deploy.errors import UsageError
from xec_deploy.normalisation import normalise_arrays
from xec_train.checkpoint import RegressorCheckpoint, load_regressor
from xec_train.config.distill import DistillConfig
from xec_train.data import RawBatch
from xec_train.data.truth import TRUTH_COMPONENTS
from xec_train.distill.lesson import Lesson
from xec_train.models import TASK_DIMENSIONS, TaskName
from xec_train.regressor.targets import CLASSES

__all__ = ["Teachers"]


class Teachers:
    """One or several regressors, each with its own layout, normalisation and parametrisation.

    Not a module: weights of teachers are no part of a student's checkpoint.

    Parameters
    ----------
    checkpoints
        By path.
    tasks
        To teach.
    """

    def __init__(
        self, checkpoints: Mapping[str, RegressorCheckpoint], tasks: Sequence[TaskName]
    ) -> None:
        self.checkpoints = checkpoints
        self.tasks = tuple(tasks)
        for checkpoint in checkpoints.values():
            checkpoint.model.requires_grad_(requires_grad=False).eval()

    @classmethod
    def of_config(cls, config: DistillConfig) -> Teachers:
        """Load the teachers of a configuration.

        Raises
        ------
        BundleError
            If a file is not a regressor's checkpoint.
        UsageError
            If a teacher does not know a task of the student, or lacks variances for it.
        """
        checkpoints = {path: load_regressor(path) for path in config.distillation.teachers}
        for path, checkpoint in checkpoints.items():
            theirs = checkpoint.model.config
            for task in config.active_tasks:
                if task not in theirs.active_tasks:
                    raise UsageError(
                        f"the teacher does not know {task}",
                        where=path,
                        fix=f"Set tasks.{task}.enabled to false, or take another teacher.",
                    )
                if task in config.nll_tasks and task not in theirs.nll_tasks:
                    raise UsageError(
                        f"tasks.{task}.loss_fn is gaussian_nll and the teacher says nothing of "
                        "variances",
                        where=path,
                        fix=f"Choose another loss, or a teacher trained with variances of {task}.",
                    )
        return cls(checkpoints, config.active_tasks)

    @property
    def provenance(self) -> list[dict[str, Any]]:
        """Path, sha256 and provenance in short of each, for the student's checkpoint."""
        return [
            {
                "path": path,
                "sha256": checkpoint.sha256,
                "arch": checkpoint.model.config.arch,
                "parameters": sum(p.numel() for p in checkpoint.model.parameters()),
                **{
                    k: checkpoint.training[k] for k in ("step", "epoch") if k in checkpoint.training
                },
            }
            for path, checkpoint in self.checkpoints.items()
        ]

    def to(self, device: torch.device) -> None:
        """Move to a device."""
        for checkpoint in self.checkpoints.values():
            checkpoint.model.to(device)

    def teach(self, batch: RawBatch) -> RawBatch:
        """Put lessons in the place of the targets of raw events, on the device of the batch.

        The truth is kept in them where there is one.  The teachers see the events as they are.
        """
        device = batch.npho.device
        here = next(iter(self.checkpoints.values())).model.parameters().__next__().device
        moved = batch.to(here)
        with torch.no_grad(), torch.autocast(here.type, enabled=False):
            answers = [self._answers(moved, checkpoint) for checkpoint in self.checkpoints.values()]
        targets = {}
        for task in self.tasks:
            mean, log_variance = _average(answer[task] for answer in answers)
            truth = batch.targets.get(task)
            if truth is None:
                truth = mean.new_full((len(batch), TRUTH_COMPONENTS[task]), torch.nan)
            lesson = Lesson(mean.to(device), log_variance.to(device), truth.to(device))
            targets[task] = lesson.packed()
        return replace(batch, targets=targets)

    def _answers(
        self, batch: RawBatch, checkpoint: RegressorCheckpoint
    ) -> dict[TaskName, tuple[Tensor, Tensor]]:
        """Return mean and log variance (NaN for none) of each task in physical units."""
        channels = normalise_arrays(
            batch.npho, batch.time, batch.dead, checkpoint.normalisation, torch
        )
        outputs = checkpoint.model(torch.stack(channels, dim=-1))
        return {
            task: _physical(task, outputs[task], logarithm=task in checkpoint.log_transform)
            for task in self.tasks
        }


def _physical(task: TaskName, output: Tensor, *, logarithm: bool) -> tuple[Tensor, Tensor]:
    components = TASK_DIMENSIONS[task]
    mean = output[:, :components]
    log_variance = torch.full_like(mean, torch.nan)
    if task == CLASSES:
        return mean.softmax(dim=1), log_variance
    if output.shape[1] > components:
        log_variance = output[:, components:]
    if logarithm:
        # The width of the quantity itself is that of the logarithm times the quantity.
        return mean.exp(), log_variance + 2.0 * mean
    return mean, log_variance


def _average(answers: Iterable[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Return mean and log variance of the equal mixture of several Gaussians."""
    means, log_variances = (torch.stack(part) for part in zip(*answers, strict=True))
    mean = means.mean(dim=0)
    # Computed as deviations, whose squares do not cancel.
    between = (means - mean).square().mean(dim=0)
    return mean, (log_variances.exp().mean(dim=0) + between).log()
