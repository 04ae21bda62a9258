"""What makes a graph of lower precision for any set of groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray

from calibration.graph import Graph
from calibration.halves import Half, convert, emulate, rounded
from calibration.layers import Layer
from calibration.qdq import Target, quantise_layers, quantise_weights

__all__ = ["Halves", "Int8", "Rest", "members"]


def members(layers: Sequence[Layer], groups: frozenset[str]) -> list[Layer]:
    """Return the layers of some groups or parts."""
    return [layer for layer in layers if groups.intersection((layer.group, layer.part))]


@dataclass(frozen=True)
class Halves:
    """Groups in 16-bit floats.

    Attributes
    ----------
    graph
        Prepared, float32.
    layers
        That may be in 16 bits.
    half
        The format.
    """

    graph: Graph
    layers: tuple[Layer, ...]
    half: Half

    def low(self, groups: frozenset[str]) -> list[Layer]:
        """Return the layers of some groups or parts."""
        return members(self.layers, groups)

    def rounded(self, layer: Layer) -> NDArray[np.float32]:
        """Return the weights of a layer in 16 bits."""
        return rounded(self.graph.array(layer.weight), self.half)

    def build(
        self, groups: frozenset[str], graph: Graph | None = None, *, final: bool = False
    ) -> onnx.ModelProto:
        """Return the graph to write, or the emulation that is judged."""
        make = convert if final else emulate
        return make(graph or self.graph, self.low(groups), self.half)


@dataclass(frozen=True)
class Rest:
    """What of an int8 graph is in 16 bits where it is not in int8.

    Attributes
    ----------
    half
        The format.
    layers
        That are in it; those of them that are in int8 read and write it.
    """

    half: Half
    layers: tuple[Layer, ...]


@dataclass(frozen=True)
class Int8:
    """Groups in int8, and others in 16 bits if there is a rest.

    Attributes
    ----------
    graph
        Prepared, float32, with evened channels where that was asked for.
    layers
        That may be in int8.
    ranges
        Tensor of activations -> lowest and highest value to keep.
    target
        Dialect.
    rest
        None if all else stays in float32.
    """

    graph: Graph
    layers: tuple[Layer, ...]
    ranges: Mapping[str, tuple[float, float]]
    target: Target
    rest: Rest | None = None

    def low(self, groups: frozenset[str]) -> list[Layer]:
        """Return the layers of some groups or parts."""
        return members(self.layers, groups)

    def rounded(self, layer: Layer) -> NDArray[np.float32]:
        """Return the weights of a layer in int8."""
        half = self.rest.half if self.rest else None
        weights = self.graph.array(layer.weight)
        values, scales = quantise_weights(weights, layer.channel_axis, half)
        shape = [1] * weights.ndim
        shape[layer.channel_axis] = -1
        return values * scales.reshape(shape)

    def build(
        self, groups: frozenset[str], graph: Graph | None = None, *, final: bool = False
    ) -> onnx.ModelProto:
        """Return the graph to write, or to be judged."""
        graph = graph or self.graph
        if self.rest is None:
            return quantise_layers(graph, self.low(groups), self.ranges, self.target)
        half = self.rest.half
        model = quantise_layers(graph, self.low(groups), self.ranges, self.target, half)
        make = convert if final else emulate
        return make(Graph(model), self.rest.layers, half)
