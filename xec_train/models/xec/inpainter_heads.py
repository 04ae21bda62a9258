"""The learned part of the inpainter: what the neighbours' mean lacks, for MPPCs and for PMTs."""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from torch import Tensor, nn
from torch.nn import functional

from xec_deploy.detector import constants as c
from xec_deploy.detector.geometry import design_geometry
from xec_train.models.xec.inpainter_config import XecInpainterNetworkConfig
from xec_train.models.xec.surroundings import FEATURES, Views

__all__ = ["InnerHead", "TubeHead"]

START: Final = 0.05
"""Spread of a PMT's first weights about those all have in common."""


class _Head(nn.Module):
    """Layers behind the first; the last starts from zero, so that learning starts from the mean."""

    def __init__(self, config: XecInpainterNetworkConfig) -> None:
        super().__init__()
        self.features = nn.Linear(FEATURES, config.width)
        self.context = nn.Linear(config.context_width, config.width, bias=False)
        self.hidden = nn.Linear(config.width, config.width)
        self.output = nn.Linear(config.width, 1)
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)

    def correction(self, around: Tensor, features: Tensor, context: Tensor) -> Tensor:
        """Return (batch, n) what to add to the mean of the neighbours."""
        first = around + self.features(features) + self.context(context)[:, None]
        hidden = functional.relu(first)
        hidden = hidden + functional.relu(self.hidden(hidden))
        correction: Tensor = self.output(hidden)[..., 0]
        return correction


class InnerHead(_Head):
    """MPPCs: a convolution over the live neighbours, relative to their mean.

    Evaluated at all MPPCs by convolutions, at given ones from their surroundings alone: the same
    numbers.
    """

    nearby: Tensor

    def __init__(self, config: XecInpainterNetworkConfig) -> None:
        super().__init__(config)
        self.side = 2 * config.reach + 1
        self.around = nn.Conv2d(2, config.width, self.side, padding=config.reach, bias=False)
        self.register_buffer(
            "nearby", torch.from_numpy(_image_windows(config.reach)), persistent=False
        )

    def forward(self, views: Views, context: Tensor) -> Tensor:
        """Predict logarithms (batch, 4092) of all MPPCs."""
        shape = (1, c.INNER_ROWS, c.INNER_COLUMNS)
        light, live, base = (
            torch.unflatten(part[:, : c.N_MPPC], 1, shape)
            for part in (views.light, views.live, views.base)
        )
        of_light, of_live = self.around.weight[:, :1], self.around.weight[:, 1:]
        padding = self.around.padding
        # The light relative to the mean at the sensor, which leaves the sum over the neighbours.
        bright = functional.conv2d(light, of_light, padding=padding)
        seen = functional.conv2d(live, torch.cat([of_light, of_live]), padding=padding)
        seen_light, seen_live = seen.chunk(2, dim=1)
        around = bright - base * seen_light + seen_live
        correction = self.correction(
            around.flatten(2).transpose(1, 2), views.features[:, : c.N_MPPC], context
        )
        return views.base[:, : c.N_MPPC] + correction

    def at(self, views: Views, context: Tensor, sensors: Tensor) -> Tensor:
        """Predict logarithms (batch, n) of MPPCs ``sensors`` (batch, n)."""
        nearby = self.nearby[sensors]
        window = (*sensors.shape, self.side**2)
        base = views.base.gather(1, sensors)
        light, live = (
            functional.pad(part[:, : c.N_MPPC], (0, 1)).gather(1, nearby.flatten(1)).view(window)
            for part in (views.light, views.live)
        )
        seen = torch.stack([light - base[..., None] * live, live], dim=2)
        around = seen.flatten(2) @ self.around.weight.flatten(1).T
        wanted = sensors[..., None].expand(-1, -1, FEATURES)
        return base + self.correction(around, views.features.gather(1, wanted), context)


class TubeHead(_Head):
    """PMTs: the nearest tubes of the face, weighted by each PMT in its own way."""

    neighbours: Tensor

    def __init__(self, config: XecInpainterNetworkConfig) -> None:
        super().__init__(config)
        count = config.tube_neighbours
        common = torch.randn(2 * count, config.width) / (2 * count) ** 0.5
        own = START * torch.randn(c.N_PMT, 2 * count, config.width)
        self.around = nn.Parameter(common + own)
        self.place = nn.Parameter(START * torch.randn(c.N_PMT, config.width))
        self.register_buffer(
            "neighbours", torch.from_numpy(_nearest_tubes(count)).flatten(), persistent=False
        )

    def forward(self, views: Views, context: Tensor) -> Tensor:
        """Predict logarithms (batch, 668) of all PMTs."""
        base = views.base[:, c.N_MPPC :]
        light, live = (
            torch.unflatten(part[:, c.N_MPPC :].index_select(1, self.neighbours), 1, (c.N_PMT, -1))
            for part in (views.light, views.live)
        )
        seen = torch.cat([light - base[..., None] * live, live], dim=2)
        around = (seen.transpose(0, 1) @ self.around).transpose(0, 1) + self.place
        return base + self.correction(around, views.features[:, c.N_MPPC :], context)


def _image_windows(reach: int) -> NDArray[np.int64]:
    """Return the ids in the window around each MPPC, row by row; 4092 where there is none."""
    ids = np.arange(c.N_MPPC).reshape(c.INNER_ROWS, c.INNER_COLUMNS)
    padded = np.pad(ids, reach, constant_values=c.N_MPPC)
    side = 2 * reach + 1
    windows = np.lib.stride_tricks.sliding_window_view(padded, (side, side))
    return windows.reshape(c.N_MPPC, side**2).astype(np.int64)


def _nearest_tubes(count: int) -> NDArray[np.int64]:
    """Return the nearest tubes (668, count) of the same face, nearest first, from 0 on."""
    geometry = design_geometry()
    nearest = np.empty((c.N_PMT, count), dtype=np.int64)
    for face in c.FACES[1:]:
        ids = geometry.sensors_of(face)
        tree = cKDTree(geometry.position[ids])
        _, found = tree.query(geometry.position[ids], k=count + 1)
        nearest[ids - c.N_MPPC] = ids[found[:, 1:]] - c.N_MPPC
    return nearest
