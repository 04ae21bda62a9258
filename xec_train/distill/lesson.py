"""What a student is told of an event for one task, and the loss of not knowing it.

A lesson travels in the place of a target, as one tensor: in that way it is cached, cut to batches
and sent to a device by what does so with targets.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from xec_train.config import TaskConfig
from xec_train.data import RawBatch
from xec_train.data.mirror import mirror, mirror_targets
from xec_train.data.truth import TRUTH_COMPONENTS
from xec_train.models import TASK_DIMENSIONS, TaskName
from xec_train.regressor.targets import CLASSES, SMALLEST, learned_target
from xec_train.training.losses import event_loss, split_variance

__all__ = ["Lesson", "mirror_lessons", "taught_loss"]


@dataclass(frozen=True, eq=False)
class Lesson:
    """Of one task, for a batch of events.

    Attributes
    ----------
    mean
        (batch, components) in physical units; for ``n_gamma`` probabilities of the classes.
    log_variance
        (batch, components), of squared physical units; NaN where the teachers have none.
    truth
        (batch, values of the truth); NaN where there is none.
    """

    mean: Tensor
    log_variance: Tensor
    truth: Tensor

    def packed(self) -> Tensor:
        """Return the lesson as one tensor (batch, columns)."""
        return torch.cat([self.mean, self.log_variance, self.truth], dim=1)

    @classmethod
    def unpack(cls, task: TaskName, packed: Tensor) -> Lesson:
        """Return the lesson of a tensor."""
        components = TASK_DIMENSIONS[task]
        sizes = [components, components, TRUTH_COMPONENTS[task]]
        return cls(*torch.split(packed, sizes, dim=1))

    @property
    def answer(self) -> Tensor:
        """What a target would be: the mean, or for ``n_gamma`` the likeliest class (batch, 1)."""
        if self.truth.shape == self.mean.shape:
            return self.mean
        return self.mean.argmax(dim=1, keepdim=True).to(self.mean.dtype)

    @property
    def has_truth(self) -> Tensor:
        """(batch,) bool."""
        return self.truth.isfinite().all(dim=1)


def mirror_lessons(batch: RawBatch, way: Tensor) -> RawBatch:
    """Mirror events whose targets are lessons; see :func:`xec_train.data.mirror.mirror`.

    What a teacher would say of the mirror image is taken to be the mirror image of what it says.
    """
    lessons = {task: Lesson.unpack(task, packed) for task, packed in batch.targets.items()}
    means = mirror_targets({task: lesson.mean for task, lesson in lessons.items()}, way)
    truths = mirror_targets({task: lesson.truth for task, lesson in lessons.items()}, way)
    targets = {
        task: Lesson(means[task], lesson.log_variance, truths[task]).packed()
        for task, lesson in lessons.items()
    }
    return mirror(batch, way, targets)


def taught_loss(
    task: TaskName, prediction: Tensor, lesson: Lesson, options: TaskConfig, scale: Tensor
) -> Tensor:
    """Return the loss (batch,) of predictions (batch, outputs) against the teachers.

    The task's own loss with their mean in the place of the truth.  With variances on both sides
    that is the cross entropy of the two Gaussians, for classes of the two distributions.
    """
    if task == CLASSES:
        return -(lesson.mean * prediction.float().log_softmax(dim=1)).sum(dim=1)
    mean = learned_target(lesson.mean, options)
    if options.loss_fn != "gaussian_nll":
        return event_loss(options.loss_fn, prediction, mean, scale=scale, beta=options.loss_beta)
    log_variance = lesson.log_variance
    if options.log_transform:
        log_variance = log_variance - 2.0 * lesson.mean.clamp_min(SMALLEST).log()
    plain = event_loss("gaussian_nll", prediction, mean, scale=scale, beta=options.loss_beta)
    # The mean of the squared error over the teacher's Gaussian exceeds that of its mean.
    _, own = split_variance(prediction.float())
    wider = 0.5 * (log_variance - own).exp()
    factor = torch.exp(options.loss_beta * (own - 2.0 * scale.log()).detach())
    return plain + (wider * factor).mean(dim=1)
