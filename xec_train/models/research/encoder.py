"""The encoder: six detector faces to tokens, fused by a transformer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from xec_deploy.detector.layout import Layout
from xec_train.models.config import ModelConfig
from xec_train.models.research.blocks import (
    ChannelsFirstLayerNorm,
    ConvNeXtV2Block,
    HexNeXtBlock,
)
from xec_train.models.research.outer import OuterFineGrid

__all__ = ["FaceBackbone", "HexEncoder", "XECEncoder"]

TRANSFORMER_HEADS = 8


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

    def forward(self, image: Tensor) -> Tensor:
        """Turn (batch, 2, height, width) into (batch, 32 * channels)."""
        x = self.stage2(self.downsample(self.stage1(self.stem(image))))
        x = functional.interpolate(x, size=(4, 4), mode="bilinear", align_corners=False)
        return x.flatten(1)


class HexEncoder(nn.Module):
    """Graph blocks on a hexagonal face of 73 tubes, averaged over the tubes."""

    def __init__(
        self, encoder_dim: int, channels: int, adjacency: Tensor, drop_path: float
    ) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Linear(2, channels), nn.LayerNorm(channels), nn.GELU())
        self.layers = nn.ModuleList(HexNeXtBlock(channels, adjacency, drop_path) for _ in range(4))
        self.proj = nn.Sequential(nn.LayerNorm(channels), nn.Linear(channels, encoder_dim))

    def forward(self, nodes: Tensor) -> Tensor:
        """Turn (batch, 73, 2) into (batch, encoder_dim)."""
        x = self.stem(nodes)
        for layer in self.layers:
            x = layer(x)
        return self.proj(x.mean(dim=1))  # type: ignore[no-any-return]


class XECEncoder(nn.Module):
    """Faces to tokens (batch, tokens, encoder_dim).

    Token order: inner, upstream, downstream, outer fine grid, top, bottom; or, in split mode,
    inner, outer coarse, outer centre, upstream, downstream, top, bottom.
    """

    top_hex_indices: Tensor
    bottom_hex_indices: Tensor
    hex_edge_index: Tensor

    def __init__(self, config: ModelConfig, layout: Layout, sentinel_time: float) -> None:
        super().__init__()
        self.layout = layout
        self.split = config.outer_mode == "split"
        dim = config.encoder_dim
        adjacency = torch.from_numpy(layout.hex_adjacency()).to(torch.get_default_dtype())
        self.pos_embed = nn.Parameter(torch.zeros(1, 7 if self.split else 6, dim))
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
        # Existing checkpoints carry these maps; they say which layout the weights belong to.
        for name, ids in (
            ("top_hex_indices", layout.top),
            ("bottom_hex_indices", layout.bottom),
            ("hex_edge_index", layout.hex_edges),
        ):
            self.register_buffer(name, torch.from_numpy(ids.copy()))
        for name in ("inner", "upstream", "downstream", "outer_coarse", "outer_centre"):
            image = torch.from_numpy(getattr(layout, name).copy())
            self.register_buffer(f"_{name}", image.flatten(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Encode normalised events (batch, 4760, 2)."""
        top, bottom = (
            self.hex_encoder(x.index_select(1, self.top_hex_indices)),
            self.hex_encoder(x.index_select(1, self.bottom_hex_indices)),
        )
        inner, upstream, downstream = (
            self.backbone(self._image(x, name)) for name in ("inner", "upstream", "downstream")
        )
        if self.split:
            coarse, centre = (
                self.backbone(self._image(x, name)) for name in ("outer_coarse", "outer_centre")
            )
            tokens = [inner, coarse, centre, upstream, downstream, top, bottom]
        else:
            outer = self.backbone(self.outer_fine(x))
            tokens = [inner, upstream, downstream, outer, top, bottom]
        return self.fusion_transformer(torch.stack(tokens, dim=1) + self.pos_embed)  # type: ignore[no-any-return]

    def _image(self, x: Tensor, name: str) -> Tensor:
        height, width = getattr(self.layout, name).shape
        return (
            x.index_select(1, getattr(self, f"_{name}"))
            .reshape(-1, height, width, 2)
            .permute(0, 3, 1, 2)
        )

    def _load_from_state_dict(
        self, state_dict: Mapping[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        for name in ("top_hex_indices", "bottom_hex_indices", "hex_edge_index"):
            loaded, built = state_dict.get(prefix + name), getattr(self, name)
            if loaded is not None and not torch.equal(loaded.cpu(), built.cpu()):
                # Reported with the other mismatches of a strict load, as `error_msgs`.
                args[-1].append(
                    f"{prefix}{name} is not the index map of layout {self.layout.name!r}"
                )
                return
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
