"""The bilinear resize ahead of the last product of the backbone.

The resize reads 2 x 2 neighbourhoods of 16 places, at most 64 pixels of a map of up to 1600, and
is linear: it commutes with the last Linear of the last block and with the residual sum.  Only the
norm of GRN needs the hidden map everywhere.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from xec_deploy.export.rewrites.blocks import FoldedBlock
from xec_deploy.export.rewrites.images import RESIZED, ChannelsLastBackbone
from xec_deploy.export.rewrites.replace import constant
from xec_train.models.research.encoder import XECEncoder

__all__ = ["ResizedBackbone", "resize_before_last_product"]


def resize_before_last_product(module: nn.Module) -> nn.Module:
    """Resize ahead of the last product of the backbone; needs channels last."""
    for encoder in module.modules():
        if isinstance(encoder, XECEncoder):
            shapes = {image_shape(encoder, face) for face in encoder.tokens if _is_image(face)}
            backbone = cast("ChannelsLastBackbone", encoder.backbone)
            encoder.backbone = ResizedBackbone(backbone, shapes)  # type: ignore[assignment]
    return module


def image_shape(encoder: XECEncoder, face: str) -> tuple[int, int]:
    """Return height and width of the image the backbone gets of a rectangular face."""
    if face == "outer" and "outer_centre" not in encoder.tokens:
        height, width = encoder.outer_fine.shape
        rows, columns = encoder.outer_fine.pool or (1, 1)
        return height // rows, width // columns
    height, width = getattr(encoder.layout, "outer_coarse" if face == "outer" else face).shape
    return height, width


def _is_image(face: str) -> bool:
    return face not in ("top", "bottom")


class ResizedBackbone(ChannelsLastBackbone):
    """A backbone whose last block ends on the places of the resize.

    Parameters
    ----------
    backbone
        The one to take over.
    shapes
        Height and width of the images it will see.
    """

    def __init__(self, backbone: ChannelsLastBackbone, shapes: Iterable[tuple[int, int]]) -> None:
        nn.Module.__init__(self)
        for name, child in backbone.named_children():
            self.add_module(name, child)
        for height, width in sorted(shapes):
            # The stem takes one pixel off each side, the downsampling halves.
            last = ((height - 1) // 2, (width - 1) // 2)
            pixels, weights = _resize(last)
            self.register_buffer(_name("pixels", last), pixels, persistent=False)
            self.register_parameter(_name("weights", last), constant(weights, backbone.norm.weight))

    def finish(self, x: Tensor, visible: Tensor | None) -> Tensor:
        """Apply the last block and resize, (batch, 32 * channels)."""
        last = (x.shape[1], x.shape[2])
        pixels = self.get_buffer(_name("pixels", last))
        weights = self.get_parameter(_name("weights", last))
        block = cast("FoldedBlock", self.stage2[-1])
        x, y = block.spatial(x, visible)
        hidden = block.expansion.hidden(y)
        residual, resized = (
            weights @ value.index_select(1, pixels) for value in (x.flatten(1, 2), hidden)
        )
        # The weights of a place sum to one, so the bias stays what it is.
        result = residual + resized @ block.expansion.weight(hidden) + block.expansion.bias
        return result.transpose(1, 2).flatten(1)


def _resize(shape: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Return ids of the n pixels that are read and their weights, (16, n)."""
    count = shape[0] * shape[1]
    unit = torch.eye(count, dtype=torch.float64).reshape(1, count, *shape)
    matrix = functional.interpolate(unit, size=RESIZED, mode="bilinear", align_corners=False)
    matrix = matrix.reshape(count, -1).T
    pixels = matrix.any(dim=0).nonzero().flatten()
    return pixels, matrix[:, pixels]


def _name(kind: str, shape: tuple[int, int]) -> str:
    return f"{kind}_{shape[0]}x{shape[1]}"
