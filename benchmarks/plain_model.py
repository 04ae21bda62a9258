"""The regressor as research code writes it, for the plain path of benchmarks.

Straight from the formulas of the network: LayerNorm over channels by mean and variance, GRN on the
large tensors, messages of the hexagonal graph added at their nodes one by one, the fine grid of the
outer face built by repetition.  The weights are those of the package's modules.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional

from xec_deploy.export.rewrites.replace import replace
from xec_train.models.research.blocks import (
    GRN,
    ChannelsFirstLayerNorm,
    ConvNeXtV2Block,
    HexConv,
    HexNeXtBlock,
)
from xec_train.models.research.outer import OuterFineGrid

__all__ = ["plain_model"]

EPS = 1e-6


def plain_model(module: nn.Module) -> nn.Module:
    """Return a copy of a research network in its plain form."""
    module = copy.deepcopy(module)
    for kind, build in (
        (ChannelsFirstLayerNorm, PlainLayerNorm),
        (ConvNeXtV2Block, PlainBlock),
        (HexNeXtBlock, PlainHexBlock),
        (OuterFineGrid, PlainFineGrid),
    ):
        module = replace(module, kind, build)
    return module.eval()


class PlainLayerNorm(nn.Module):
    """LayerNorm over axis 1 by its formula."""

    def __init__(self, norm: ChannelsFirstLayerNorm) -> None:
        super().__init__()
        self.weight, self.bias = norm.weight, norm.bias

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (batch, channels, height, width)."""
        mean = x.mean(1, keepdim=True)
        variance = (x - mean).pow(2).mean(1, keepdim=True)
        x = (x - mean) / torch.sqrt(variance + EPS)
        return self.weight[:, None, None] * x + self.bias[:, None, None]


def plain_grn(grn: GRN, x: Tensor, dims: tuple[int, ...]) -> Tensor:
    """Apply GRN over axes ``dims``, channels last."""
    response = torch.linalg.vector_norm(x, dim=dims, keepdim=True)
    normalised = response / (response.mean(dim=-1, keepdim=True) + EPS)
    return grn.gamma * (x * normalised) + grn.beta + x


class PlainBlock(nn.Module):
    """ConvNeXt V2 block in the order of the paper."""

    def __init__(self, block: ConvNeXtV2Block) -> None:
        super().__init__()
        self.block = block

    def forward(self, x: Tensor, visible: Tensor | None = None) -> Tensor:
        """Transform (batch, channels, height, width)."""
        assert visible is None  # noqa: S101 - regressors have no mask
        block = self.block
        y = block.norm(block.dwconv(x).permute(0, 2, 3, 1))
        y = plain_grn(block.grn, block.act(block.pwconv1(y)), (1, 2))
        return x + block.pwconv2(y).permute(0, 3, 1, 2)


class PlainHexBlock(nn.Module):
    """The block on the graph, messages gathered and added along the edges."""

    edges: Tensor

    def __init__(self, block: HexNeXtBlock) -> None:
        super().__init__()
        self.block = block
        convolution: HexConv = block.spatial_conv
        nodes = round(convolution.adjacency.shape[1] ** 0.5)
        kind, place = convolution.adjacency.nonzero(as_tuple=True)
        edges = torch.stack([place % nodes, place // nodes, kind])
        self.register_buffer("edges", edges, persistent=False)

    def forward(self, x: Tensor, visible: Tensor | None = None) -> Tensor:
        """Transform (batch, nodes, channels)."""
        assert visible is None  # noqa: S101 - regressors have no mask
        block, (source, destination, kind) = self.block, self.edges
        convolution = block.spatial_conv
        messages = x[:, source] * convolution.weight[0, kind]
        y = torch.zeros_like(x)
        y = y.scatter_add(1, destination[None, :, None].expand_as(messages), messages)
        y = block.norm(y + convolution.bias)
        y = plain_grn(block.grn, block.act(block.pwconv1(y)), (1,))
        return x + block.pwconv2(y)


class PlainFineGrid(nn.Module):
    """The fine grid by repetition, pooled."""

    coarse: Tensor
    centre: Tensor

    def __init__(self, grid: OuterFineGrid) -> None:
        super().__init__()
        self.pool, self.sentinel_time = grid.pool, grid.sentinel_time
        sensors = grid.sensors.reshape(grid.shape)
        # One cell of each tube; the centre covers rows 15 to 29 and columns 30 to 41.
        self.register_buffer("centre", sensors[15:30:3, 30:42:2], persistent=False)
        coarse = sensors[::5, ::3].clone()
        self.register_buffer("coarse", coarse, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Turn (batch, 4760, 2) into (batch, 2, height, width)."""
        coarse = x[:, self.coarse].repeat_interleave(5, 1).repeat_interleave(3, 2)
        centre = x[:, self.centre].repeat_interleave(3, 1).repeat_interleave(2, 2)
        area = coarse.new_tensor([15.0, 1.0])
        coarse, centre = coarse / area, centre / coarse.new_tensor([6.0, 1.0])
        middle = torch.cat([coarse[:, 15:30, :30], centre, coarse[:, 15:30, 42:]], dim=2)
        grid = torch.cat([coarse[:, :15], middle, coarse[:, 30:]], dim=1)
        npho, time = grid.permute(0, 3, 1, 2).split(1, dim=1)
        if self.pool is None:
            return torch.cat([npho, time], dim=1)
        valid = (time != self.sentinel_time).to(time.dtype)
        total = functional.avg_pool2d(time * valid, self.pool)
        fraction = functional.avg_pool2d(valid, self.pool)
        mean = total / fraction.clamp_min(1e-6)
        time = torch.where(fraction > 0, mean, torch.full_like(mean, self.sentinel_time))
        return torch.cat([functional.avg_pool2d(npho, self.pool), time], dim=1)
