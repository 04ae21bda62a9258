"""Everything the architecture's network sees of an event, as one list of numbers."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from xec_deploy.detector import constants as c
from xec_deploy.normalisation import Normalisation
from xec_train.models.xec.config import XecNetworkConfig
from xec_train.models.xec.fovea import FoveatedView
from xec_train.models.xec.light import TINY, FilledLight
from xec_train.models.xec.moments import N_MOMENTS, Moments

__all__ = ["EventView"]

COARSE: Final = (8, 4)
"""Pixels of the inner face averaged to one cell of its periphery; 93 rows are padded to 96."""
PADDING: Final = 3


class EventView(nn.Module):
    """Normalised events (batch, 4760, 2) to ``count`` numbers, ``parts`` of it each.

    Moments; the foveated view of the inner face and which part of it is live; the whole inner face
    in 12 x 11 coarse cells; every PMT.  Light is given relative to all light of the inner face, in
    square roots, whose noise is alike everywhere: how much light there is stands in the moments.
    """

    def __init__(self, config: XecNetworkConfig, normalisation: Normalisation) -> None:
        super().__init__()
        self.light = FilledLight(normalisation)
        self.moments = Moments(normalisation)
        self.fovea = FoveatedView(config.fovea_rings, config.fovea_step, config.fovea_growth)
        cells = (c.INNER_ROWS + PADDING) // COARSE[0] * (c.INNER_COLUMNS // COARSE[1])
        pmts = c.N_SENSORS - c.N_MPPC
        sharp = self.fovea.points**2
        self.parts = {
            "moments": N_MOMENTS,
            "sharp": sharp,
            "coarse": cells,
            "pmts": pmts,
            "live": sharp,
        }
        self.count = sum(self.parts.values())

    @property
    def lights(self) -> int:
        """Numbers that tell of light, which come first; the others tell what is live."""
        return self.count - self.fovea.points**2

    def forward(self, x: Tensor) -> Tensor:
        """Look at the events."""
        return self.look(x)[0]

    def look(self, x: Tensor, centre: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Look at events, and say where the centre of the fovea is, u and v (batch, 2) [cm].

        ``centre`` puts it elsewhere than in the centre of their light.
        """
        light = self.light(x)
        moments, own = self.moments(light, x[..., 1])
        centre = own if centre is None else centre
        sharp, live = self.fovea(light.inner, light.inner_live, centre)
        padded = functional.pad(light.inner[:, None], (0, 0, 0, PADDING))
        coarse = functional.avg_pool2d(padded, COARSE)
        total = light.inner.sum(dim=(1, 2))[:, None].clamp_min(TINY)
        shares = [
            torch.sqrt(part.flatten(1).clamp_min(0.0) / total)
            for part in (sharp, coarse, light.pmt)
        ]
        return torch.cat([moments, *shares, live.flatten(1)], dim=1), centre
