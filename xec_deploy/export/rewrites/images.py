"""The backbone of rectangular faces with channels last from the stem to the end.

Every product of the network runs over channels; only the depthwise convolutions want them first,
and engines take the two permutations around those into their own reordering.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from xec_deploy.export.rewrites.blocks import FoldedBlock
from xec_deploy.export.rewrites.replace import constant, exact, replace
from xec_train.models.research.blocks import LAYER_NORM_EPS
from xec_train.models.research.encoder import FaceBackbone

__all__ = ["RESIZED", "ChannelsLastBackbone", "channels_last"]

RESIZED = (4, 4)
"""Places to which the last map is resized."""


def channels_last(module: nn.Module) -> nn.Module:
    """Keep channels last in the backbone of rectangular faces; needs folded blocks."""
    return replace(module, FaceBackbone, ChannelsLastBackbone)


class Downsample(nn.Module):
    """LayerNorm and convolution 2 x 2 with stride 2, as one product over the pixels of a window."""

    def __init__(self, downsample: nn.Sequential) -> None:
        super().__init__()
        norm, convolution = downsample[0], cast("nn.Conv2d", downsample[1])
        weight, bias = exact(convolution.weight), exact(cast("Tensor", convolution.bias))
        scale, shift = exact(cast("Tensor", norm.weight)), exact(cast("Tensor", norm.bias))
        like = convolution.weight
        # (outputs, channels, 2, 2) to (row, column, channel) by outputs.
        folded = (weight * scale[:, None, None]).permute(2, 3, 1, 0)
        self.weight = constant(folded.flatten(0, 2), like)
        self.bias = constant(bias + weight.sum(dim=(2, 3)) @ shift, like)

    def forward(self, x: Tensor) -> Tensor:
        """Turn (batch, height, width, channels) into (batch, height // 2, width // 2, outputs)."""
        height, width, channels = x.shape[1] // 2, x.shape[2] // 2, x.shape[3]
        x = functional.layer_norm(x.flatten(1, 2), (channels,), eps=LAYER_NORM_EPS).reshape(x.shape)
        x = x[:, : 2 * height, : 2 * width]
        rows = x.reshape(-1, height, 2, width, 2 * channels).transpose(2, 3)
        return rows.reshape(-1, height, width, 4 * channels) @ self.weight + self.bias


class ChannelsLastBackbone(nn.Module):
    """:class:`~xec_train.models.research.encoder.FaceBackbone` with channels last."""

    def __init__(self, backbone: FaceBackbone) -> None:
        super().__init__()
        self.convolution = backbone.stem[0]
        norm = backbone.stem[1]
        self.norm = nn.LayerNorm(norm.weight.shape[0], eps=LAYER_NORM_EPS)  # type: ignore[index]
        self.norm.weight, self.norm.bias = norm.weight, norm.bias  # type: ignore[assignment]
        self.stage1 = nn.ModuleList(backbone.stage1)
        self.downsample = Downsample(backbone.downsample)
        self.stage2 = nn.ModuleList(backbone.stage2)

    def forward(self, image: Tensor, visible: Tensor | None = None) -> Tensor:
        """Turn (batch, 2, height, width) into (batch, 32 * channels).

        ``visible`` is (batch, 1, height, width), 1 where a pixel is seen; None for all of them.
        """
        return self.finish(*self.maps(image, visible))

    def maps(self, image: Tensor, visible: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Return the map before the last block, channels last, and what is visible there."""
        image = image if visible is None else image * visible
        x = self.convolution(image).permute(0, 2, 3, 1)
        x = self.norm(x.flatten(1, 2)).reshape(x.shape)
        seen = _resized(visible, x)
        for block in self.stage1:
            x = cast("FoldedBlock", block).channels_last(x, seen)
        x = self.downsample(x)
        seen = _resized(visible, x)
        for block in self.stage2[:-1]:
            x = cast("FoldedBlock", block).channels_last(x, seen)
        return x, seen

    def finish(self, x: Tensor, visible: Tensor | None) -> Tensor:
        """Apply the last block and resize, (batch, 32 * channels)."""
        x = cast("FoldedBlock", self.stage2[-1]).channels_last(x, visible).permute(0, 3, 1, 2)
        return functional.interpolate(
            x, size=RESIZED, mode="bilinear", align_corners=False
        ).flatten(1)


def _resized(visible: Tensor | None, x: Tensor) -> Tensor | None:
    """Bring (batch, 1, height, width) to the places of a map, (batch, height, width, 1)."""
    if visible is None:
        return None
    visible = functional.interpolate(visible, size=x.shape[1:3], mode="nearest")
    return torch.permute(visible, (0, 2, 3, 1))
