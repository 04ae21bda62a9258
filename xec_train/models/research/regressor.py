"""The multi-task regressor: encoder and one head per physics quantity."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from xec_deploy.detector.layout import Layout
from xec_deploy.normalisation import Normalisation
from xec_train.models.anchor import Anchor
from xec_train.models.config import ModelConfig, TaskName
from xec_train.models.moments import N_MOMENTS, Moments
from xec_train.models.research.encoder import XECEncoder

__all__ = ["LAST_LAYER", "XECMultiHeadModel"]

LAST_LAYER = 6
"""Index of the last linear layer of a head."""


def _head(inputs: int, hidden: int, outputs: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(inputs, hidden),
        nn.LayerNorm(hidden),
        nn.GELU(),
        nn.Dropout(dropout),
        nn.Linear(hidden, hidden),
        nn.GELU(),
        nn.Linear(hidden, outputs),
    )


class XECMultiHeadModel(nn.Module):
    """Normalised events to the raw outputs of the active tasks.

    Parameters
    ----------
    config
        Architecture.
    layout
        Index maps; part of the model, see :mod:`xec_deploy.detector.layout`.
    normalisation
        Of the input: the fine grid is pooled over valid times, and moments are taken of photons.
    """

    def __init__(self, config: ModelConfig, layout: Layout, normalisation: Normalisation) -> None:
        super().__init__()
        self.config = config
        self.backbone = XECEncoder(config, layout, normalisation.sentinel_time)
        inputs = self.backbone.pos_embed.shape[1] * config.encoder_dim
        if config.moments:
            self.moments = Moments(normalisation)
            self.anchors = nn.ModuleDict(
                {task: Anchor(config.outputs_of(task)) for task in config.heads}
            )
            inputs += N_MOMENTS
        self.heads = nn.ModuleDict(
            {
                task: _head(inputs, config.hidden_dim, config.outputs_of(task), config.head_dropout)
                for task in config.heads
            }
        )

    def forward(self, x: Tensor) -> dict[TaskName, Tensor]:
        """Turn (batch, 4760, 2) into {task: (batch, outputs)}, means before log variances."""
        corrections, anchors = self.parts(x)
        return {task: value + anchors.get(task, 0.0) for task, value in corrections.items()}

    def parts(self, x: Tensor) -> tuple[dict[TaskName, Tensor], dict[TaskName, Tensor]]:
        """Return what the heads and what the anchors give; the latter empty without moments."""
        features = self.backbone(x).flatten(1)
        anchors: dict[TaskName, Tensor] = {}
        if self.config.moments:
            moments = self.moments(x)
            features = torch.cat([features, moments], dim=1)
            anchors = {task: self.anchors[task](moments) for task in self.config.active_tasks}
        return {task: self.heads[task](features) for task in self.config.active_tasks}, anchors
