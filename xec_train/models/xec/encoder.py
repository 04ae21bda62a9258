"""The encoder of the project's own architecture: from an event to what all tasks share."""

from __future__ import annotations

from itertools import pairwise
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from xec_deploy.normalisation import Normalisation
from xec_train.models.xec.config import XecNetworkConfig
from xec_train.models.xec.moments import N_MOMENTS
from xec_train.models.xec.view import EventView

__all__ = ["RANGE", "SMALLEST_SPREAD", "XecEncoder"]

RANGE: Final = 6.0
"""Standard deviations to which inputs are limited: outside, the network stays what it is there."""


PERIPHERY: Final = ("coarse", "pmts", "live")
"""Parts of what is seen that say little each: a weight from every one of them to every shared
neuron learns their noise first."""

SMALLEST_SPREAD: Final = 1e-6
"""What does not vary is not blown up."""


class XecEncoder(nn.Module):
    """What is seen of an event, and layers on it.

    Parameters
    ----------
    config
        Architecture.
    normalisation
        Of the input; the network sees photons and nanoseconds, whatever it is.
    """

    mean: Tensor
    inverse_spread: Tensor

    def __init__(self, config: XecNetworkConfig, normalisation: Normalisation) -> None:
        super().__init__()
        self.view = EventView(config, normalisation)
        self.register_buffer("mean", torch.zeros(self.view.count))
        self.register_buffer("inverse_spread", torch.ones(self.view.count))
        parts = self.view.parts
        self.summaries = nn.ModuleDict(
            {name: nn.Linear(parts[name], config.summary_width) for name in PERIPHERY}
            if config.summary_width is not None
            else {}
        )
        inputs = sum(
            self.summaries[name].out_features if name in self.summaries else count  # type: ignore[misc]
            for name, count in parts.items()
        )
        widths = [inputs, *[config.width] * config.depth]
        self.shared = nn.ModuleList(
            nn.Linear(inputs, outputs) for inputs, outputs in pairwise(widths)
        )
        self.dropout = nn.Dropout(config.dropout)

    @property
    def layers(self) -> nn.ModuleList:
        """All that is trained: from what is seen to the shared features."""
        return nn.ModuleList([self.summaries, self.shared])

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Turn (batch, 4760, 2) into shared features (batch, width) and standardised moments."""
        # In float32 also under autocast: bfloat16 has three digits.
        with torch.autocast(x.device.type, enabled=False):
            standard = self.standardise(self.view(x))
        return self.features(standard.clamp(-RANGE, RANGE)), standard[:, :N_MOMENTS]

    def standardise(self, seen: Tensor) -> Tensor:
        """Give what is seen, (batch, view.count), zero mean and unit spread."""
        return (seen - self.mean) * self.inverse_spread

    @torch.no_grad()
    def use_statistics(self, seen: Tensor) -> None:
        """Standardise with mean and spread of what is seen of some events, (n, view.count)."""
        seen = seen.double()
        self.mean.copy_(seen.mean(dim=0))
        spread = seen.std(dim=0, correction=0).clamp_min(SMALLEST_SPREAD)
        self.inverse_spread.copy_(1.0 / spread)

    def features(self, limited: Tensor) -> Tensor:
        """Turn standardised inputs, limited to ``RANGE``, into shared features (batch, width)."""
        hidden = limited
        if self.summaries:
            parts = torch.split(limited, list(self.view.parts.values()), dim=1)
            hidden = torch.cat(
                [
                    functional.gelu(self.summaries[name](part)) if name in self.summaries else part
                    for name, part in zip(self.view.parts, parts, strict=True)
                ],
                dim=1,
            )
        for layer in self.shared:
            hidden = self.dropout(functional.gelu(layer(hidden)))
        return hidden
