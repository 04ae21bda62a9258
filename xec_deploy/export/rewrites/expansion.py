"""The inner perceptron of ConvNeXt V2 blocks with everything folded that can be.

LayerNorm, Linear, GELU, GRN, Linear.  The affine part of LayerNorm moves into the first Linear,
``beta`` of GRN into the bias of the second, its scale per event into the (small) weights of the
second; what remains on the large tensors is a normalisation, two products, one bias with GELU and
one sum of squares.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from xec_deploy.export.rewrites.replace import constant, exact
from xec_train.models.research.blocks import ConvNeXtV2Block, HexNeXtBlock

__all__ = ["GRN_EPS", "Expansion"]

GRN_EPS = 1e-6


class Expansion(nn.Module):
    """What a block does to (batch, places, channels) between its spatial part and the residual."""

    def __init__(self, block: ConvNeXtV2Block | HexNeXtBlock) -> None:
        super().__init__()
        norm, first, second, like = block.norm, block.pwconv1, block.pwconv2, block.grn.gamma
        self.shape, self.eps = norm.normalized_shape, norm.eps
        first_weight, second_weight = exact(first.weight), exact(second.weight)
        self.first = constant((first_weight * exact(norm.weight)).T, like)
        self.first_bias = constant(exact(first.bias) + first_weight @ exact(norm.bias), like)
        self.gamma = constant(exact(block.grn.gamma), like)
        self.second = constant(second_weight.T, like)
        self.bias = constant(exact(second.bias) + second_weight @ exact(block.grn.beta), like)

    def hidden(self, y: Tensor) -> Tensor:
        """Turn (batch, places, channels) into (batch, places, 4 channels), before GRN."""
        y = functional.layer_norm(y, self.shape, eps=self.eps)
        return functional.gelu(y @ self.first + self.first_bias)

    def weight(self, hidden: Tensor) -> Tensor:
        """Return the second weight with the scale of GRN, (batch, 4 channels, channels)."""
        # A product and a sum: ONNX Runtime takes five times as long for a norm over these axes.
        response = torch.sqrt((hidden * hidden).sum(dim=1))
        scale = response / (response.mean(dim=-1, keepdim=True) + GRN_EPS)
        return self.second * (1.0 + self.gamma * scale).unsqueeze(-1)

    def forward(self, y: Tensor) -> Tensor:
        """Transform (batch, places, channels)."""
        hidden = self.hidden(y)
        return hidden @ self.weight(hidden) + self.bias
