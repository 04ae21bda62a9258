"""The estimate from moments that a head corrects."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn

from xec_train.models.moments import N_MOMENTS

__all__ = ["Anchor"]

HIDDEN: Final = 128
RANGE: Final = 6.0
"""Standard deviations to which moments are limited: outside, the curve stays what it is there."""


class Anchor(nn.Module):
    """A linear estimate and a small network for what is curved: edges, depth, leakage."""

    mean: Tensor
    inverse_spread: Tensor

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.linear = nn.Linear(N_MOMENTS, outputs)
        self.curve = nn.Sequential(
            nn.Linear(N_MOMENTS, HIDDEN),
            nn.GELU(),
            nn.Linear(HIDDEN, HIDDEN),
            nn.GELU(),
            nn.Linear(HIDDEN, outputs),
        )
        self.register_buffer("mean", torch.zeros(N_MOMENTS))
        self.register_buffer("inverse_spread", torch.ones(N_MOMENTS))

    def forward(self, moments: Tensor) -> Tensor:
        """Turn (batch, N_MOMENTS) into (batch, outputs), physical units."""
        estimate: Tensor = self.linear(moments) + self.curve(self.standardise(moments))
        return estimate

    def standardise(self, moments: Tensor) -> Tensor:
        """Return moments of zero mean and unit spread, limited."""
        return ((moments - self.mean) * self.inverse_spread).clamp(-RANGE, RANGE)
