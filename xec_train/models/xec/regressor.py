"""The regressor of the project's own architecture."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from xec_deploy.normalisation import Normalisation
from xec_train.models.tasks import TaskName
from xec_train.models.xec.config import XecModelConfig
from xec_train.models.xec.encoder import XecEncoder
from xec_train.models.xec.moments import N_MOMENTS

__all__ = ["XecRegressor"]


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
        Of the input.
    """

    def __init__(self, config: XecModelConfig, normalisation: Normalisation) -> None:
        super().__init__()
        self.config = config
        self.backbone = XecEncoder(config, normalisation)
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
        features, moments = self.backbone(x)
        return self.join(self.anchor_estimates(moments), features)

    def anchor_estimates(self, moments: Tensor) -> dict[TaskName, Tensor]:
        """Turn standardised moments (batch, N_MOMENTS) into the estimates that are corrected."""
        # In full precision: a quantity spans hundreds of times its resolution.
        with torch.autocast(moments.device.type, enabled=False):
            return {task: self.anchors[task](moments) for task in self.config.active_tasks}

    def join(self, anchors: dict[TaskName, Tensor], features: Tensor) -> dict[TaskName, Tensor]:
        """Add the corrections from shared features (batch, width) to the anchors' estimates."""
        return {
            task: anchor + self.heads[task](features).to(anchor.dtype)
            for task, anchor in anchors.items()
        }
