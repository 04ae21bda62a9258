"""The regressor of the project's own architecture."""

from __future__ import annotations

from itertools import pairwise
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from xec_deploy.normalisation import Normalisation
from xec_train.models.tasks import TaskName
from xec_train.models.xec.config import XecModelConfig
from xec_train.models.xec.moments import N_MOMENTS
from xec_train.models.xec.view import EventView

__all__ = ["RANGE", "XecRegressor"]

RANGE: Final = 6.0
"""Standard deviations to which inputs are limited: outside, the network stays what it is there."""


class XecRegressor(nn.Module):
    """Normalised events to the raw outputs of the active tasks.

    Every task starts from an *anchor*, a linear estimate from the moments of the light fitted in
    closed form before the training; shared layers and a head learn the correction, which is of the
    order of the resolution where the quantity itself spans hundreds of times that.

    Parameters
    ----------
    config
        Architecture.
    normalisation
        Of the input; the network sees photons and nanoseconds, whatever it is.
    """

    mean: Tensor
    inverse_spread: Tensor

    def __init__(self, config: XecModelConfig, normalisation: Normalisation) -> None:
        super().__init__()
        self.config = config
        self.view = EventView(config, normalisation)
        self.register_buffer("mean", torch.zeros(self.view.count))
        self.register_buffer("inverse_spread", torch.ones(self.view.count))
        widths = [self.view.count, *[config.width] * config.depth]
        self.shared = nn.ModuleList(
            nn.Linear(inputs, outputs)
            for inputs, outputs in pairwise(widths)
        )
        self.dropout = nn.Dropout(config.dropout)
        self.anchors = nn.ModuleDict(
            {task: nn.Linear(N_MOMENTS, config.outputs_of(task)) for task in config.active_tasks}
        )
        self.heads = nn.ModuleDict(
            {
                task: nn.Sequential(
                    nn.Linear(config.width, config.head_width),
                    nn.GELU(),
                    nn.Linear(config.head_width, config.outputs_of(task)),
                )
                for task in config.active_tasks
            }
        )

    def forward(self, x: Tensor) -> dict[TaskName, Tensor]:
        """Turn (batch, 4760, 2) into {task: (batch, outputs)}, means before log variances."""
        # In float32 also under autocast: bfloat16 has three digits.
        with torch.autocast(x.device.type, enabled=False):
            standard = self.standardise(self.view(x))
            anchors = self.anchor_estimates(standard[:, :N_MOMENTS])
        corrections = self.corrections(standard.clamp(-RANGE, RANGE))
        return {task: anchor + corrections[task] for task, anchor in anchors.items()}

    def standardise(self, seen: Tensor) -> Tensor:
        """Give what is seen, (batch, view.count), zero mean and unit spread."""
        return (seen - self.mean) * self.inverse_spread

    def anchor_estimates(self, moments: Tensor) -> dict[TaskName, Tensor]:
        """Turn standardised moments (batch, N_MOMENTS) into the estimates that are corrected."""
        return {task: self.anchors[task](moments) for task in self.config.active_tasks}

    def corrections(self, limited: Tensor) -> dict[TaskName, Tensor]:
        """Turn standardised inputs, limited to ``RANGE``, into what is added to the anchors."""
        hidden = limited
        for layer in self.shared:
            hidden = self.dropout(functional.gelu(layer(hidden)))
        return {
            task: self.heads[task](hidden).to(limited.dtype) for task in self.config.active_tasks
        }
