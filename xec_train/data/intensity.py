"""Weights of events by their total light, so that dim and bright ones count alike."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

__all__ = ["IntensityWeights", "total_light"]


def total_light(npho: Tensor, valid: Tensor) -> Tensor:
    """Return the sum (batch,) of the valid photons of events (batch, 4760)."""
    return torch.where(valid, npho, 0.0).sum(dim=1)


class IntensityWeights(nn.Module):
    """A histogram of the total light of a sample, and weights from it.

    Parameters
    ----------
    bins
        Bins of equal width between the 1 % and 99 % quantiles; what lies outside counts to the
        outermost ones.
    target
        ``uniform``: each bin counts the same; ``sqrt``: by the root of its events.
    """

    edges: Tensor
    weights: Tensor

    def __init__(self, bins: int, target: Literal["uniform", "sqrt"]) -> None:
        super().__init__()
        self.power = 1.0 if target == "uniform" else 0.5
        self.register_buffer("edges", torch.zeros(bins - 1))
        self.register_buffer("weights", torch.ones(bins))

    def fit(self, light: Tensor) -> None:
        """Take the histogram of a sample's total light (events,)."""
        low, high = torch.quantile(light.double(), light.new_tensor([0.01, 0.99]).double())
        count = len(self.weights)
        edges = torch.linspace(float(low), float(high), count + 1)[1:-1]
        self.edges.copy_(edges)
        counts = torch.bincount(torch.bucketize(light, edges.to(light)), minlength=count).double()
        weights = counts.clamp_min(1.0) ** -self.power
        # One on average over the sample.
        self.weights.copy_(weights * counts.sum() / (weights * counts).sum())

    def forward(self, light: Tensor) -> Tensor:
        """Return the weight (batch,) of events with so much light."""
        return self.weights[torch.bucketize(light, self.edges)]
