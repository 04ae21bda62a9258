"""The multi-task regressor: encoder and one head per physics quantity."""

from __future__ import annotations

from torch import Tensor, nn

from xec_deploy.detector.layout import Layout
from xec_deploy.normalisation import Normalisation
from xec_train.models.config import ModelConfig
from xec_train.models.research.encoder import XECEncoder
from xec_train.models.tasks import TaskName

__all__ = ["XECMultiHeadModel"]


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
        Of the input: the fine grid is pooled over valid times.
    """

    def __init__(self, config: ModelConfig, layout: Layout, normalisation: Normalisation) -> None:
        super().__init__()
        self.config = config
        self.backbone = XECEncoder(config, layout, normalisation.sentinel_time)
        inputs = self.backbone.pos_embed.shape[1] * config.encoder_dim
        self.heads = nn.ModuleDict(
            {
                task: _head(inputs, config.hidden_dim, config.outputs_of(task), config.head_dropout)
                for task in config.heads
            }
        )

    def forward(self, x: Tensor) -> dict[TaskName, Tensor]:
        """Turn (batch, 4760, 2) into {task: (batch, outputs)}, means before log variances."""
        features = self.backbone(x).flatten(1)
        return {task: self.heads[task](features) for task in self.config.active_tasks}
