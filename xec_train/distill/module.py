"""A regressor that learns from teachers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from xec_deploy.errors import BundleError
from xec_train.config.distill import DistillConfig
from xec_train.data import RawBatch
from xec_train.distill.lesson import Lesson, mirror_lessons, taught_loss
from xec_train.distill.teachers import Teachers
from xec_train.models import TaskName
from xec_train.regressor.module import FirstEvents, RegressorModule
from xec_train.regressor.start import StartingWeights
from xec_train.regressor.targets import CLASSES

__all__ = ["DistillModule"]

HALF = 0.5


class DistillModule(RegressorModule):
    """A student in training.

    Teachers see events as they come; then channels are lost and events mirrored, their answers
    with them, so that the student learns to say with a dead board what they say without.

    Parameters
    ----------
    config
        The configuration.
    teachers
        Whom to learn from.
    first_events, start
        See :class:`~xec_train.regressor.module.RegressorModule`.
    """

    def __init__(
        self,
        config: DistillConfig,
        teachers: Teachers,
        first_events: FirstEvents,
        start: StartingWeights | None = None,
    ) -> None:
        super().__init__(config, _Taught(first_events, teachers), start)
        self.label_weight = config.distillation.label_weight
        self._teachers = teachers

    def prepare(self) -> None:
        """Send the teachers to the device of the student, then as every regressor."""
        self._teachers.to(self.device)
        super().prepare()

    def on_fit_start(self) -> None:
        """Have the teachers where the student is, also in a resumed training."""
        self._teachers.to(self.device)

    def training_loss(self, batch: RawBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the balanced loss and that of each task, of augmented events."""
        return super().training_loss(self._teachers.teach(batch))

    def validate(self, model: nn.Module, batch: RawBatch) -> None:
        """Keep predictions, answers of the teachers, and losses of the events."""
        super().validate(model, self._teachers.teach(batch))

    def compared(self, task: TaskName, target: Tensor) -> Tensor:
        """Return what the student is to answer: what the teachers say, weighted with the truth."""
        lesson = Lesson.unpack(task, target)
        # One class or the other: there is none between two.
        share = float(self.label_weight > HALF) if task == CLASSES else self.label_weight
        known = lesson.has_truth[:, None]
        return torch.where(known, lesson.answer.lerp(lesson.truth, share), lesson.answer)

    def _mirror(self, batch: RawBatch) -> RawBatch:
        return mirror_lessons(batch, torch.randint(4, (len(batch),), device=batch.npho.device))

    def _event_loss(self, task: TaskName, prediction: Tensor, target: Tensor) -> Tensor:
        lesson = Lesson.unpack(task, target)
        scale = self.scales[task].loss if task in self.scales.stated else target.new_ones(1)
        taught = taught_loss(task, prediction, lesson, self.config.tasks[task], scale)
        if self.label_weight == 0:
            return taught
        known = lesson.has_truth
        # Any number where there is no truth: NaN would come back through the gradient.
        truth = torch.where(known[:, None], lesson.truth, lesson.answer)
        true = super()._event_loss(task, prediction, truth)
        return torch.where(known, taught.lerp(true, self.label_weight), taught)

    def deployable(self) -> dict[str, Any]:
        """Return the entries of a regressor's checkpoint, with its teachers on record."""
        entries = super().deployable()
        entries["training"]["teachers"] = self._teachers.provenance
        return entries

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take the state of a training with the same teachers.

        Raises
        ------
        BundleError
            If the checkpoint is of another model, other teachers or another order of events.
        """
        super().on_load_checkpoint(checkpoint)
        theirs = {teacher["sha256"] for teacher in checkpoint["training"].get("teachers", [])}
        if theirs != {teacher["sha256"] for teacher in self._teachers.provenance}:
            raise BundleError(
                "the checkpoint was trained with other teachers",
                fix="Leave distillation.teachers as it was, or start from the weights with "
                "checkpoint.reset_epoch.",
            )


class _Taught:
    """The first events with lessons, which are computed when an event is first asked for."""

    def __init__(self, first_events: FirstEvents, teachers: Teachers) -> None:
        self._first_events = first_events
        self._teachers = teachers
        self._lessons: list[dict[TaskName, Tensor]] = []

    def __call__(self, events: int) -> Iterator[RawBatch]:
        for number, batch in enumerate(self._first_events(events)):
            if number == len(self._lessons):
                self._lessons.append(self._teachers.teach(batch).targets)
            yield replace(batch, targets=self._lessons[number])
