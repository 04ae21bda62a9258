"""The encoder: six detector faces to tokens, fused by a transformer."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from xec_deploy.detector.layout import Layout
from xec_train.models.config import EncoderConfig
from xec_train.models.research.blocks import (
    ChannelsFirstLayerNorm,
    ConvNeXtV2Block,
    HexNeXtBlock,
)
from xec_train.models.research.index_maps import IndexedModule
from xec_train.models.research.outer import OuterFineGrid

__all__ = ["TOKENS", "FaceBackbone", "HexEncoder", "XECEncoder"]

TRANSFORMER_HEADS: Final = 8

TOKENS: Final = {
    "finegrid": ("inner", "upstream", "downstream", "outer", "top", "bottom"),
    "split": ("inner", "outer", "outer_centre", "upstream", "downstream", "top", "bottom"),
}
"""Tokens in order, by ``outer_mode``; in split mode ``outer`` is the coarse image."""


class FaceBackbone(nn.Module):
    """ConvNeXt V2 of two stages on a rectangular face, resized to 4 x 4 and flattened."""

    def __init__(self, channels: int, drop_path: float) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(2, channels, kernel_size=4, stride=1, padding=1),
            ChannelsFirstLayerNorm(channels),
        )
        self.stage1 = nn.Sequential(*(ConvNeXtV2Block(channels, drop_path) for _ in range(2)))
        self.downsample = nn.Sequential(
            ChannelsFirstLayerNorm(channels),
            nn.Conv2d(channels, 2 * channels, kernel_size=2, stride=2),
        )
        self.stage2 = nn.Sequential(*(ConvNeXtV2Block(2 * channels, drop_path) for _ in range(3)))

    def forward(self, image: Tensor, visible: Tensor | None = None) -> Tensor:
        """Turn (batch, 2, height, width) into (batch, 32 * channels).

        ``visible`` is (batch, 1, height, width), 1 where a pixel is seen; None for all of them.
        """
        x = self._stage(self.stage1, self.stem(_seen(image, visible)), visible)
        x = self._stage(self.stage2, self.downsample(x), visible)
        x = functional.interpolate(x, size=(4, 4), mode="bilinear", align_corners=False)
        return x.flatten(1)

    @staticmethod
    def _stage(blocks: nn.Sequential, x: Tensor, visible: Tensor | None) -> Tensor:
        if visible is not None:
            visible = functional.interpolate(visible, size=x.shape[-2:], mode="nearest")
        for block in blocks:
            x = block(x, visible)
        return x


class HexEncoder(nn.Module):
    """Graph blocks on a hexagonal face of 73 tubes, averaged over the tubes."""

    def __init__(
        self, encoder_dim: int, channels: int, adjacency: Tensor, drop_path: float
    ) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Linear(2, channels), nn.LayerNorm(channels), nn.GELU())
        self.layers = nn.ModuleList(HexNeXtBlock(channels, adjacency, drop_path) for _ in range(4))
        self.proj = nn.Sequential(nn.LayerNorm(channels), nn.Linear(channels, encoder_dim))

    def forward(self, nodes: Tensor, visible: Tensor | None = None) -> Tensor:
        """Turn (batch, 73, 2) into (batch, encoder_dim); ``visible`` is (batch, 73, 1)."""
        x = self.stem(_seen(nodes, visible))
        for layer in self.layers:
            x = layer(x, visible)
        return self.proj(x.mean(dim=1))  # type: ignore[no-any-return]


def _seen(x: Tensor, visible: Tensor | None) -> Tensor:
    return x if visible is None else x * visible


class XECEncoder(IndexedModule):
    """Faces to tokens (batch, tokens, encoder_dim), in the order of :data:`TOKENS`."""

    top_hex_indices: Tensor
    bottom_hex_indices: Tensor
    hex_edge_index: Tensor

    def __init__(self, config: EncoderConfig, layout: Layout, sentinel_time: float) -> None:
        super().__init__(layout.name)
        self.layout = layout
        self.tokens = TOKENS[config.outer_mode]
        dim = config.encoder_dim
        adjacency = torch.from_numpy(layout.hex_adjacency()).to(torch.get_default_dtype())
        self.pos_embed = nn.Parameter(torch.zeros(1, len(self.tokens), dim))
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        self.backbone = FaceBackbone(dim // 32, config.drop_path_rate)
        self.hex_encoder = HexEncoder(dim, config.hex_channels, adjacency, config.drop_path_rate)
        self.fusion_transformer = nn.TransformerEncoder(
            nn.TransformerEncoderLayer(
                dim,
                nhead=TRANSFORMER_HEADS,
                dim_feedforward=config.dim_feedforward or 4 * dim,
                dropout=config.transformer_dropout,
                activation="gelu",
                batch_first=True,
            ),
            num_layers=config.num_fusion_layers,
            enable_nested_tensor=False,
        )
        self.outer_fine = OuterFineGrid(layout, config.outer_fine_pool, sentinel_time)
        self.register_map("top_hex_indices", layout.top)
        self.register_map("bottom_hex_indices", layout.bottom)
        self.register_map("hex_edge_index", layout.hex_edges)
        for name in ("inner", "upstream", "downstream", "outer_coarse", "outer_centre"):
            image = torch.from_numpy(getattr(layout, name).copy())
            self.register_buffer(f"_{name}", image.flatten(), persistent=False)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Encode normalised events.

        Parameters
        ----------
        x
            (batch, 4760, 2).
        mask
            (batch, 4760), True or 1 where a sensor is hidden; None for no masking at all.
        """
        visible = None if mask is None else (1 - mask.to(x.dtype)).unsqueeze(-1)
        tokens = [self._token(face, x, visible) for face in self.tokens]
        return self.fusion_transformer(torch.stack(tokens, dim=1) + self.pos_embed)  # type: ignore[no-any-return]

    def face(self, name: str, x: Tensor) -> Tensor:
        """Return what the network sees of a face.

        (batch, 4760, channels) becomes an image (batch, channels, height, width), or nodes
        (batch, 73, channels) for the top and bottom faces.  The image ``outer`` is the fine grid,
        or the coarse one in split mode.
        """
        if name in ("top", "bottom"):
            return x.index_select(1, getattr(self, f"{name}_hex_indices"))
        if name == "outer":
            if "outer_centre" not in self.tokens:
                return self.outer_fine(x)  # type: ignore[no-any-return]
            name = "outer_coarse"
        height, width = getattr(self.layout, name).shape
        pixels = x.index_select(1, getattr(self, f"_{name}"))
        return pixels.reshape(-1, height, width, x.shape[2]).permute(0, 3, 1, 2)

    def _token(self, face: str, x: Tensor, visible: Tensor | None) -> Tensor:
        seen = None
        if visible is not None:
            fine = face == "outer" and "outer_centre" not in self.tokens
            seen = self.outer_fine.visible(visible) if fine else self.face(face, visible)
        network = self.hex_encoder if face in ("top", "bottom") else self.backbone
        return network(self.face(face, x), seen)  # type: ignore[no-any-return]
