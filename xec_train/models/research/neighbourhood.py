"""Neighbours up to two steps away, and attention over the visible ones among them.

The weight a place gets does not depend on who asks, so that the attended features of all places
are two neighbourhood sums: of ``exp(logit) * feature`` and of ``exp(logit)``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from xec_deploy.detector.layout import IntArray

__all__ = ["attend_to_visible", "box_neighbours", "box_sum", "graph_neighbours"]

STEPS: Final = 2
LOWEST_LOGIT: Final = -60.0
"""Below the largest of the face; a smaller weight would be lost to float32."""


def box_neighbours(shape: tuple[int, int]) -> tuple[IntArray, IntArray]:
    """Return ids (pixels, 24) of the pixels in the 5 x 5 box around each, and how many there are.

    Padded with 0.
    """
    rows, columns = (index.ravel() for index in np.indices(shape))
    near = (abs(rows[:, None] - rows) <= STEPS) & (abs(columns[:, None] - columns) <= STEPS)
    return _padded(near, width=(2 * STEPS + 1) ** 2 - 1)


def graph_neighbours(edges: IntArray) -> tuple[IntArray, IntArray]:
    """Return ids (nodes, most) of the nodes within two edges of each, and how many there are."""
    nodes = int(edges[:2].max()) + 1
    step = np.zeros((nodes, nodes), bool)
    step[edges[0], edges[1]] = True
    return _padded(np.linalg.matrix_power(step | np.eye(nodes, dtype=bool), STEPS))


def _padded(near: NDArray[np.bool_], width: int | None = None) -> tuple[IntArray, IntArray]:
    near = near & ~np.eye(len(near), dtype=bool)
    counts = near.sum(axis=1)
    width = int(counts.max()) if width is None else width
    indices = np.argsort(~near, axis=1, kind="stable")[:, :width]
    indices[np.arange(width) >= counts[:, None]] = 0
    return indices.astype(np.int64), counts.astype(np.int64)


def box_sum(x: Tensor, shape: tuple[int, int]) -> Tensor:
    """Sum (batch, pixels, channels) over the box around each pixel, without the pixel itself."""
    channels, side = x.shape[2], 2 * STEPS + 1
    kernel = x.new_ones(channels, 1, side, side)
    kernel[:, :, STEPS, STEPS] = 0.0
    image = torch.unflatten(x.transpose(1, 2), 2, shape)
    total = functional.conv2d(image, kernel, padding=STEPS, groups=channels)
    return total.flatten(2).transpose(1, 2)


def attend_to_visible(
    features: Tensor,
    logits: Tensor,
    hidden: Tensor,
    counts: Tensor,
    width: int,
    neighbour_sum: Callable[[Tensor], Tensor],
) -> Tensor:
    """Return for each place the softmax-weighted mean of its visible neighbours' features.

    Parameters
    ----------
    features, logits
        (batch, places, channels) and (batch, places, 1).
    hidden
        (batch, places) bool.
    counts, width
        Number of neighbours (places,), and the length to which lists of them are padded.
    neighbour_sum
        Sums (batch, places, n) over the neighbours of each place.

    Returns
    -------
    attended
        (batch, places, channels).  Where no neighbour is visible, the mean over the list padded
        with place 0, as existing checkpoints have it.
    """
    relative = (logits - logits.amax(dim=1, keepdim=True)).clamp_min(LOWEST_LOGIT)
    weight = relative.exp() * (~hidden).unsqueeze(-1).to(logits.dtype)
    channels = features.shape[2]
    sums = neighbour_sum(torch.cat([features * weight, features, weight], dim=2))
    weighted, plain, total = torch.split(sums, [channels, channels, 1], dim=2)
    padding = (width - counts).to(features.dtype).unsqueeze(-1)
    blind = (plain + padding * features[:, :1]) / width
    seen = total > 0
    return torch.where(seen, weighted / torch.where(seen, total, 1.0), blind)
