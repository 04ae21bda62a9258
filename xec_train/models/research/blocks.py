"""Building blocks: ConvNeXt V2 on images, its sibling on hexagonal graphs.

ConvNeXt V2: Woo et al., "ConvNeXt V2: Co-designing and Scaling ConvNets with Masked
Autoencoders" (2023).  Attribute names are those of existing checkpoints.

Blocks take an optional ``visible`` map, 1 where a sensor is seen and 0 where it is hidden: as in
the paper, hidden places are zeroed after the spatial convolution and on the residual path.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = [
    "GRN",
    "ChannelsFirstLayerNorm",
    "ConvNeXtV2Block",
    "DropPath",
    "HexConv",
    "HexNeXtBlock",
]

LAYER_NORM_EPS = 1e-6


class DropPath(nn.Module):
    """Stochastic depth: drop a residual branch per event (Huang et al. 2016)."""

    def __init__(self, rate: float = 0.0) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """Apply to (batch, ...)."""
        if self.rate == 0.0 or not self.training:
            return x
        keep = 1.0 - self.rate
        shape = (x.shape[0],) + (1,) * (x.ndim - 1)
        return x * (torch.rand(shape, device=x.device) < keep) / keep


class ChannelsFirstLayerNorm(nn.Module):
    """LayerNorm over the channels of (batch, channels, height, width)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise over axis 1."""
        x = x.permute(0, 2, 3, 1)
        x = functional.layer_norm(x, (x.shape[-1],), self.weight, self.bias, LAYER_NORM_EPS)
        return x.permute(0, 3, 1, 2)


class GRN(nn.Module):
    """Global response normalisation over all axes between batch and channels.

    ``G`` is the L2 norm of a channel over space, ``N = G / (mean over channels of G + 1e-6)``;
    the output is ``gamma * x * N + beta + x``.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.zeros(channels))
        self.beta = nn.Parameter(torch.zeros(channels))

    def scale(self, x: Tensor) -> Tensor:
        """Return ``1 + gamma * N``, (batch, 1, channels), for (batch, places, channels)."""
        response = torch.linalg.vector_norm(x, dim=1, keepdim=True)
        scale: Tensor = 1.0 + self.gamma * (response / (response.mean(dim=-1, keepdim=True) + 1e-6))
        return scale

    def then(self, linear: nn.Linear, x: Tensor) -> Tensor:
        """Return ``linear(grn(x))`` for (batch, places, channels) without forming ``grn(x)``.

        GRN scales each channel by a number per event and adds a constant, so the scale moves into
        the (small) weights and the constant into the bias: two passes over the largest tensors
        of the network less, forward and backward.
        """
        weight = linear.weight.T * self.scale(x).transpose(1, 2)
        bias = linear.bias + linear.weight @ self.beta
        result: Tensor = torch.baddbmm(bias, x, weight)
        return result


class ConvNeXtV2Block(nn.Module):
    """Depthwise 7x7, LayerNorm, Linear, GELU, GRN, Linear, residual."""

    def __init__(self, channels: int, drop_path: float = 0.0) -> None:
        super().__init__()
        self.dwconv = nn.Conv2d(channels, channels, kernel_size=7, padding=3, groups=channels)
        self.norm = nn.LayerNorm(channels, eps=LAYER_NORM_EPS)
        self.pwconv1 = nn.Linear(channels, 4 * channels)
        self.act = nn.GELU()
        self.grn = GRN(4 * channels)
        self.pwconv2 = nn.Linear(4 * channels, channels)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor, visible: Tensor | None = None) -> Tensor:
        """Transform (batch, channels, height, width); ``visible`` is (batch, 1, height, width)."""
        y = self.dwconv(x)
        if visible is not None:
            x, y = x * visible, y * visible
        y = self.norm(y.permute(0, 2, 3, 1).flatten(1, 2))
        y = self.grn.then(self.pwconv2, self.act(self.pwconv1(y)))
        branch: Tensor = self.drop_path(y.transpose(1, 2).reshape(x.shape))
        return x + branch


class HexConv(nn.Module):
    """Depthwise convolution on the hexagonal graph: one weight per edge type and channel.

    The message from node u to v, ``weight[type] * x[u]``, is added at v.  Composing the (fixed)
    adjacency with the weights first turns the scatter-add, which TensorRT refuses, into one small
    dense product per channel.
    """

    adjacency: Tensor

    def __init__(self, channels: int, adjacency: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(1, adjacency.shape[0], channels))
        self.bias = nn.Parameter(torch.zeros(1, 1, channels))
        nn.init.trunc_normal_(self.weight, std=0.2)
        types, nodes, _ = adjacency.shape
        self.register_buffer("adjacency", adjacency.reshape(types, nodes * nodes), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Transform (batch, nodes, channels)."""
        nodes, channels = x.shape[1], x.shape[2]
        operator = (self.weight[0].T @ self.adjacency).reshape(channels, nodes, nodes)
        message: Tensor = (operator @ x.permute(2, 1, 0)).permute(2, 1, 0)
        return message + self.bias


class HexNeXtBlock(nn.Module):
    """The ConvNeXt V2 block with :class:`HexConv` as its spatial part."""

    def __init__(self, channels: int, adjacency: Tensor, drop_path: float = 0.0) -> None:
        super().__init__()
        self.spatial_conv = HexConv(channels, adjacency)
        self.norm = nn.LayerNorm(channels, eps=LAYER_NORM_EPS)
        self.pwconv1 = nn.Linear(channels, 4 * channels)
        self.act = nn.GELU()
        self.grn = GRN(4 * channels)
        self.pwconv2 = nn.Linear(4 * channels, channels)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor, visible: Tensor | None = None) -> Tensor:
        """Transform (batch, nodes, channels); ``visible`` is (batch, nodes, 1)."""
        y = self.spatial_conv(x)
        if visible is not None:
            x, y = x * visible, y * visible
        y = self.norm(y)
        y = self.grn.then(self.pwconv2, self.act(self.pwconv1(y)))
        branch: Tensor = self.drop_path(y)
        return x + branch
