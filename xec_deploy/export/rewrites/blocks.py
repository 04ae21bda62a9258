"""ConvNeXt V2 blocks on images and on hexagonal graphs, for inference."""

from __future__ import annotations

from torch import Tensor, nn

from xec_deploy.export.rewrites.expansion import Expansion
from xec_deploy.export.rewrites.replace import constant, exact, replace
from xec_train.models.research.blocks import ConvNeXtV2Block, HexConv, HexNeXtBlock

__all__ = ["FoldedBlock", "FoldedHexBlock", "GraphProduct", "fold_blocks"]


def fold_blocks(module: nn.Module) -> nn.Module:
    """Fold what is linear or constant in every block into its weights."""
    module = replace(module, ConvNeXtV2Block, FoldedBlock)
    return replace(module, HexNeXtBlock, FoldedHexBlock)


class FoldedBlock(nn.Module):
    """:class:`~xec_train.models.research.blocks.ConvNeXtV2Block` with folded weights."""

    def __init__(self, block: ConvNeXtV2Block) -> None:
        super().__init__()
        self.dwconv = block.dwconv
        self.expansion = Expansion(block)

    def forward(self, x: Tensor, visible: Tensor | None = None) -> Tensor:
        """Transform (batch, channels, height, width); ``visible`` is (batch, 1, height, width)."""
        last = None if visible is None else visible.permute(0, 2, 3, 1)
        return self.channels_last(x.permute(0, 2, 3, 1), last).permute(0, 3, 1, 2)

    def channels_last(self, x: Tensor, visible: Tensor | None = None) -> Tensor:
        """Transform (batch, height, width, channels); ``visible`` is (batch, height, width, 1)."""
        x, y = self.spatial(x, visible)
        result: Tensor = x + self.expansion(y).reshape(x.shape)
        return result

    def spatial(self, x: Tensor, visible: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the residual path and the convolved map (batch, height * width, channels)."""
        # OpenVINO takes a permutation into a convolution if a LayerNorm of three axes follows.
        y = self.dwconv(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1).flatten(1, 2)
        return (x, y) if visible is None else (x * visible, y * visible.flatten(1, 2))


class GraphProduct(nn.Module):
    """:class:`~xec_train.models.research.blocks.HexConv` as one product per channel.

    Adjacency and weights are composed beforehand, (channels, nodes, nodes).
    """

    def __init__(self, convolution: HexConv) -> None:
        super().__init__()
        like, weight = convolution.weight, exact(convolution.weight)[0]
        channels, nodes = weight.shape[1], round(convolution.adjacency.shape[1] ** 0.5)
        operator = weight.T @ exact(convolution.adjacency)
        self.operator = constant(operator.reshape(channels, nodes, nodes), like)
        self.bias = constant(exact(convolution.bias), like)

    def forward(self, x: Tensor) -> Tensor:
        """Transform (batch, nodes, channels)."""
        return (self.operator @ x.permute(2, 1, 0)).permute(2, 1, 0) + self.bias


class FoldedHexBlock(nn.Module):
    """:class:`~xec_train.models.research.blocks.HexNeXtBlock` with folded weights."""

    def __init__(self, block: HexNeXtBlock) -> None:
        super().__init__()
        self.spatial_conv = GraphProduct(block.spatial_conv)
        self.expansion = Expansion(block)

    def forward(self, x: Tensor, visible: Tensor | None = None) -> Tensor:
        """Transform (batch, nodes, channels); ``visible`` is (batch, nodes, 1)."""
        x, y = self.spatial(x, visible)
        result: Tensor = x + self.expansion(y)
        return result

    def spatial(self, x: Tensor, visible: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the residual path and what neighbours said."""
        y = self.spatial_conv(x)
        return (x, y) if visible is None else (x * visible, y * visible)
