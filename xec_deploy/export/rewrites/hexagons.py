"""The mean over the tubes of a hexagonal face ahead of the last product of its encoder."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn
from torch.nn import functional

from xec_deploy.export.rewrites.blocks import FoldedHexBlock
from xec_deploy.export.rewrites.replace import constant, exact, replace
from xec_train.models.research.encoder import HexEncoder

__all__ = ["AveragedHexEncoder", "average_before_last_product"]


def average_before_last_product(module: nn.Module) -> nn.Module:
    """Average the tubes ahead of the last product; needs folded blocks.

    The mean commutes with the last Linear of the last block and the residual sum: one row instead
    of 73 goes through it.
    """
    return replace(module, HexEncoder, AveragedHexEncoder)


class AveragedHexEncoder(nn.Module):
    """:class:`~xec_train.models.research.encoder.HexEncoder`, the mean taken early."""

    def __init__(self, encoder: HexEncoder) -> None:
        super().__init__()
        self.stem = encoder.stem
        self.layers = encoder.layers
        norm, linear = cast("nn.LayerNorm", encoder.proj[0]), cast("nn.Linear", encoder.proj[1])
        weight, like = exact(linear.weight), linear.weight
        self.eps = norm.eps
        self.weight = constant((weight * exact(norm.weight)).T, like)
        self.bias = constant(exact(linear.bias) + weight @ exact(norm.bias), like)

    def forward(self, nodes: Tensor, visible: Tensor | None = None) -> Tensor:
        """Turn (batch, 73, 2) into (batch, encoder_dim); ``visible`` is (batch, 73, 1)."""
        x = self.stem(nodes if visible is None else nodes * visible)
        for layer in self.layers[:-1]:
            x = layer(x, visible)
        block = cast("FoldedHexBlock", self.layers[-1])
        x, y = block.spatial(x, visible)
        hidden = block.expansion.hidden(y)
        mean = hidden.mean(dim=1, keepdim=True) @ block.expansion.weight(hidden)
        token = x.mean(dim=1) + mean.squeeze(1) + block.expansion.bias
        return functional.layer_norm(token, (token.shape[-1],), eps=self.eps) @ self.weight + (
            self.bias
        )
