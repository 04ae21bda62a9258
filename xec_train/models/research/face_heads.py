"""Inpainting heads of one face each: a local view of the face beside its token.

Every head returns predictions (batch, sensors of the face, channels) in normalised units.
"""

from __future__ import annotations

from typing import Final, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from xec_deploy.detector.layout import Layout
from xec_train.models.config import InpainterModelConfig
from xec_train.models.research.blocks import ConvNeXtV2Block, HexNeXtBlock
from xec_train.models.research.index_maps import IndexedModule
from xec_train.models.research.neighbourhood import (
    attend_to_visible,
    box_neighbours,
    box_sum,
    graph_neighbours,
)
from xec_train.models.research.outer_regions import outer_regions

__all__ = ["FaceHead", "HexHead", "OuterSensorHead"]

CHANNELS: Final = 2
GROUPS: Final = 8
PADDING_LOGIT: Final = -1e4
"""Logit of a cell that pads a region; in the range of float16."""


class _ImageHead(IndexedModule):
    """Features of an image from its pixels beside a token."""

    def __init__(self, config: InpainterModelConfig, layout: Layout) -> None:
        super().__init__(layout.name)
        width = config.head_channels
        self.local = config.use_local_context
        self.latent_proj = nn.Sequential(nn.Linear(config.encoder_dim, width), nn.GELU())
        if self.local:
            self.local_encoder = nn.Sequential(
                nn.Conv2d(CHANNELS + width, width, kernel_size=3, padding=1),
                nn.GroupNorm(GROUPS, width),
                nn.GELU(),
                ConvNeXtV2Block(width),
                ConvNeXtV2Block(width),
            )

    def features(self, image: Tensor, latent: Tensor) -> Tensor:
        """Turn (batch, 2, height, width) and (batch, n) into (batch, n, height, width)."""
        first, *rest = self.local_encoder
        x = _convolve(cast("nn.Conv2d", first), image, latent)
        for layer in rest:
            x = layer(x)
        return x


class FaceHead(_ImageHead):
    """A rectangular face, pixel by pixel."""

    nbr_counts: Tensor

    def __init__(
        self, config: InpainterModelConfig, layout: Layout, shape: tuple[int, int], *, attend: bool
    ) -> None:
        super().__init__(config, layout)
        self.shape = shape
        self.attend = attend
        width, outputs = config.head_channels, len(config.predict_channels)
        if not self.local:
            self.global_decoder = nn.Sequential(
                nn.ConvTranspose2d(width, width, kernel_size=3, padding=1),
                nn.GroupNorm(GROUPS, width),
                nn.GELU(),
                nn.Conv2d(width, width, kernel_size=3, padding=1),
                nn.GELU(),
            )
        if attend:
            self.attn_weight = nn.Linear(width, 1)
            self.masked_pred_head = _perceptron(2 * width, width, outputs)
            indices, counts = box_neighbours(shape)
            self.register_map("nbr_indices", indices)
            self.register_map("nbr_counts", counts)
            self.listed = indices.shape[1]
        else:
            self.pred_head = nn.Sequential(
                nn.Conv2d(width, width // 2, kernel_size=3, padding=1),
                nn.GELU(),
                nn.Conv2d(width // 2, outputs, kernel_size=1),
            )

    def forward(self, image: Tensor, token: Tensor, hidden: Tensor) -> Tensor:
        """Predict every pixel.

        Parameters
        ----------
        image
            (batch, 2, height, width) with sentinels where hidden.
        token
            (batch, encoder_dim) of this face.
        hidden
            (batch, height * width) bool; masked attention does not look there.
        """
        latent = self.latent_proj(token)
        features = (
            self.features(image, latent)
            if self.local
            else self.global_decoder(latent[..., None, None].expand(-1, -1, *self.shape))
        )
        if not self.attend:
            return self.pred_head(features).flatten(2).transpose(1, 2)  # type: ignore[no-any-return]
        flat = features.flatten(2).transpose(1, 2)
        attended = attend_to_visible(
            flat,
            self.attn_weight(flat),
            hidden,
            self.nbr_counts,
            self.listed,
            lambda x: box_sum(x, self.shape),
        )
        return _predict_beside(self.masked_pred_head, attended, latent)


class OuterSensorHead(_ImageHead):
    """The outer face, tube by tube: features of the fine grid pooled over each tube's cells."""

    gather_indices: Tensor
    valid_positions: Tensor

    def __init__(self, config: InpainterModelConfig, layout: Layout) -> None:
        super().__init__(config, layout)
        width, outputs = config.head_channels, len(config.predict_channels)
        regions = outer_regions(layout, config.outer_fine_pool)
        self.tubes = len(regions.sensors)
        self.register_map("sensor_ids", regions.sensors)
        cells = regions.shape[0] * regions.shape[1]
        self.register_indices("gather_indices", regions.cells, cells)
        self.register_buffer("valid_positions", torch.from_numpy(regions.valid))
        if self.local:
            self.attn_weight = nn.Sequential(nn.Linear(width, 1))
            self.pred_head = _perceptron(2 * width, width, outputs)
        else:
            self.global_decoder = _two_layers(width)
            self.pred_head = _perceptron(width, width // 2, outputs)

    def forward(self, image: Tensor, token: Tensor) -> Tensor:
        """Predict the 234 tubes from the fine grid (batch, 2, height, width) and a token."""
        latent = self.latent_proj(token)
        if not self.local:
            prediction = self.pred_head(self.global_decoder(latent))
            return prediction.unsqueeze(1).expand(-1, self.tubes, -1)  # type: ignore[no-any-return]
        cells = self.features(image, latent).flatten(2).transpose(1, 2)
        flat, shape = self.gather_indices.flatten(), self.gather_indices.shape
        logits = torch.unflatten(self.attn_weight(cells).index_select(1, flat), 1, shape)
        valid = self.valid_positions.unsqueeze(-1)
        weight = torch.softmax(torch.where(valid, logits, PADDING_LOGIT), dim=2)
        pooled = (torch.unflatten(cells.index_select(1, flat), 1, shape) * weight).sum(dim=2)
        return _predict_beside(self.pred_head, pooled, latent)


class HexHead(IndexedModule):
    """A hexagonal face, tube by tube."""

    nbr_counts: Tensor
    near: Tensor

    def __init__(self, config: InpainterModelConfig, layout: Layout, *, attend: bool) -> None:
        super().__init__(layout.name)
        width, outputs = config.hex_head_channels, len(config.predict_channels)
        self.local = config.use_local_context
        self.attend = attend
        adjacency = torch.from_numpy(layout.hex_adjacency()).to(torch.get_default_dtype())
        self.nodes = adjacency.shape[1]
        self.register_map("edge_index", layout.hex_edges)
        self.latent_proj = nn.Sequential(nn.Linear(config.encoder_dim, width), nn.GELU())
        if self.local:
            self.input_proj = nn.Linear(CHANNELS + width, width)
            self.gnn_layers = nn.ModuleList(HexNeXtBlock(width, adjacency) for _ in range(3))
        else:
            self.global_decoder = _two_layers(width)
        if attend:
            self.attn_weight = nn.Linear(width, 1)
            self.masked_pred_head = _perceptron(2 * width, width, outputs)
            indices, counts = graph_neighbours(layout.hex_edges)
            self.register_map("nbr_indices", indices)
            self.register_map("nbr_counts", counts)
            self.listed = indices.shape[1]
            near = torch.zeros_like(adjacency[0])
            for node, (row, count) in enumerate(zip(indices, counts, strict=True)):
                near[node, row[:count]] = 1.0
            self.register_buffer("near", near, persistent=False)
        else:
            self.pred_head = nn.Sequential(
                nn.LayerNorm(width),
                nn.Linear(width, width // 2),
                nn.GELU(),
                nn.Linear(width // 2, outputs),
            )

    def forward(self, nodes: Tensor, token: Tensor, hidden: Tensor) -> Tensor:
        """Predict every node.

        Parameters
        ----------
        nodes
            (batch, 73, 2) with sentinels where hidden.
        token
            (batch, encoder_dim) of this face.
        hidden
            (batch, 73) bool; masked attention does not look there.
        """
        latent = self.latent_proj(token)
        if self.local:
            x = _beside(self.input_proj, nodes, latent)
            for layer in self.gnn_layers:
                x = layer(x)
        else:
            x = self.global_decoder(latent).unsqueeze(1).expand(-1, self.nodes, -1)
        if not self.attend:
            return self.pred_head(x)  # type: ignore[no-any-return]
        attended = attend_to_visible(
            x, self.attn_weight(x), hidden, self.nbr_counts, self.listed, self._sum
        )
        return _predict_beside(self.masked_pred_head, attended, latent)

    def _sum(self, x: Tensor) -> Tensor:
        return self.near.to(x.dtype) @ x


def _perceptron(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, hidden), nn.GELU(), nn.Linear(hidden, outputs))


def _two_layers(width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, width), nn.GELU())


def _predict_beside(head: nn.Sequential, places: Tensor, latent: Tensor) -> Tensor:
    first, *rest = head
    x = _beside(cast("nn.Linear", first), places, latent)
    for layer in rest:
        x = layer(x)
    return x


def _beside(linear: nn.Linear, places: Tensor, latent: Tensor) -> Tensor:
    """Apply ``linear`` to (batch, places, n) beside (batch, m) without copying the latter."""
    inputs = places.shape[-1]
    constant = functional.linear(latent, linear.weight[:, inputs:], linear.bias)
    return functional.linear(places, linear.weight[:, :inputs]) + constant.unsqueeze(1)


def _convolve(convolution: nn.Conv2d, image: Tensor, latent: Tensor) -> Tensor:
    """Apply a padded 3 x 3 convolution to an image beside a constant for every pixel.

    What comes of the constant differs only at the border, so three rows and columns are enough.
    """
    channels, (height, width) = image.shape[1], image.shape[2:]
    small = latent[..., None, None].expand(-1, -1, min(height, 3), min(width, 3))
    constant = functional.conv2d(small, convolution.weight[:, channels:], padding=1)
    constant = _widen(_widen(constant, 2, height), 3, width)
    y = functional.conv2d(image, convolution.weight[:, :channels], convolution.bias, padding=1)
    return y + constant


def _widen(x: Tensor, dim: int, length: int) -> Tensor:
    """Repeat the middle of the three entries along ``dim`` until there are ``length``."""
    if length <= x.shape[dim]:
        return x
    first, middle, last = torch.split(x, 1, dim)
    shape = [-1] * x.ndim
    shape[dim] = length - 2
    return torch.cat([first, middle.expand(shape), last], dim)
