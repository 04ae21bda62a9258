"""Outliers of single channels moved from activations into weights.

One scale serves a whole tensor of activations, so a channel that reaches ten times further than
the others leaves them a tenth of the steps.  Dividing channel j of the activations by ``s_j`` and
multiplying row j of the weights by it changes nothing in float, but evens the channels out.  As in
Xiao et al., "SmoothQuant" (2023): ``s_j = max|X_j|^a / max|W_j|^(1 - a)``.

The division costs nothing where it goes into the scale of a normalisation or of GRN ahead of the
layer; elsewhere it is one multiplication, which engines fuse with the quantisation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

import numpy as np
import onnx
from numpy.typing import NDArray

from calibration.graph import Graph
from calibration.layers import Layer
from calibration.simplify import SCALED

__all__ = ["smooth"]

ALPHA: Final = 0.5
SMALLEST: Final = 1e-5
"""Magnitudes below this count as this: a channel that is never used needs no scale."""


def smooth(
    graph: Graph,
    layers: Sequence[Layer],
    maxima: Mapping[str, NDArray[np.float32]],
    alpha: float = ALPHA,
) -> tuple[Graph, tuple[Layer, ...]]:
    """Return a graph with evened channels and its layers.

    Parameters
    ----------
    graph
        As `calibration.simplify.prepare` returns it; not changed.
    layers
        Its layers; convolutions are left as they are.
    maxima
        Tensor of activations -> (channels,) largest magnitudes, of `calibration.observe`.
    alpha
        How much is moved: 0 evens the weights, 1 the activations.
    """
    model = onnx.ModelProto()
    model.CopyFrom(graph.model)
    copy = Graph(model)
    readers: dict[str, list[Layer]] = {}
    for layer in layers:
        if layer.op != "Conv":
            readers.setdefault(layer.activation, []).append(layer)
    changed: dict[str, Layer] = {}
    weights: dict[tuple[str, str], str] = {}
    for activation, group in readers.items():
        factor = _factor(copy, group, maxima[activation], alpha)
        divided = _divided(copy, activation, group, factor)
        for layer in group:
            key = activation, layer.weight
            if key not in weights:
                weights[key] = _multiplied(copy, layer, factor)
            node = copy.producer[layer.node]
            copy.replace_input(node, 0, divided)
            copy.replace_input(node, 1, weights[key])
            changed[layer.node] = replace(layer, activation=divided, weight=weights[key])
    copy.sort()
    copy.prune()
    return copy, tuple(changed.get(layer.node, layer) for layer in layers)


def _input_axis(layer: Layer) -> int:
    return 1 - layer.channel_axis


def _factor(
    graph: Graph, layers: Sequence[Layer], maxima: NDArray[np.float32], alpha: float
) -> NDArray[np.float32]:
    """Return s, with a geometric mean of 1 so that ranges keep their order of magnitude."""
    rows = [np.abs(graph.array(layer.weight)).max(axis=layer.channel_axis) for layer in layers]
    weight = np.maximum(np.max(rows, axis=0), SMALLEST).astype(np.float64)
    activation = np.maximum(maxima, SMALLEST).astype(np.float64)
    logarithm = alpha * np.log(activation) - (1 - alpha) * np.log(weight)
    return np.asarray(np.exp(logarithm - logarithm.mean()), np.float32)


def _multiplied(graph: Graph, layer: Layer, factor: NDArray[np.float32]) -> str:
    weights = graph.array(layer.weight)
    shape = (-1, 1) if _input_axis(layer) == 0 else (1, -1)
    return graph.add_constant(f"{layer.weight}_smooth", weights * factor.reshape(shape))


def _divided(
    graph: Graph, activation: str, layers: Sequence[Layer], factor: NDArray[np.float32]
) -> str:
    """Return the activations divided by the factor, at no cost where that is possible."""
    node = graph.producer.get(activation)
    alone = len(graph.consumers[activation]) == len(layers) and activation not in graph.outputs
    if node is not None and alone and node.op_type == "LayerNormalization":
        for index in range(1, len(node.input)):
            name = node.input[index]
            if name in graph.constants:
                value = graph.array(name)
                new = graph.add_constant(f"{name}_smooth", (value / factor).astype(np.float32))
                graph.replace_input(node, index, new)
        return activation
    inverse = graph.add_constant(f"{activation}_smoothing", (1 / factor).astype(np.float32))
    if node is not None and alone and activation.endswith(SCALED):
        # The scale of GRN is small: one number a channel and event.
        scale = graph.add_node("Mul", [node.input[1], inverse], f"{activation}_even")
        graph.replace_input(node, 1, scale.output[0])
        return activation
    return str(graph.add_node("Mul", [activation, inverse], f"{activation}_smooth").output[0])
