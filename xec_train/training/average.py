"""Exponentially averaged weights, the ones that are validated and deployed."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

__all__ = ["WeightAverage"]


class WeightAverage(AveragedModel):
    """An exponential moving average of the weights that forgets its random start.

    ``AveragedModel`` gives the container, so that its state is what checkpoints hold
    (``module.*`` and ``n_averaged``).  The decay starts low, ``(1 + step) / (10 + step)``, and ends
    at ``decay``: a plain average remembers the initial weights for ``1 / (1 - decay)`` steps.

    The update never waits for the device, unlike ``AveragedModel.update_parameters``, which reads
    a counter back.  Buffers are constants of the models here; only parameters are averaged.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        super().__init__(model)
        self.decay = decay
        self.requires_grad_(requires_grad=False)

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Average in the weights after ``step`` steps of the optimiser."""
        decay = min(self.decay, (1 + step) / (10 + step))
        mean: list[Tensor] = list(self.module.parameters())
        torch._foreach_lerp_(mean, list(model.parameters()), 1.0 - decay)
        self.n_averaged += 1
