"""Quantisation written into a graph: QuantizeLinear and DequantizeLinear around its layers.

Two dialects, because the engines want different things:

``cpu``
    uint8 activations with a zero point, int8 weights: what x86 processors multiply (VNNI), and
    a range that need not be symmetric loses nothing behind a GELU.
``tensorrt``
    int8 activations, zero point 0 everywhere: TensorRT knows nothing else.

In both, weights have one scale an output channel and zero point 0, and biases stay in float.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

import numpy as np
import onnx
from numpy.typing import NDArray

from calibration.graph import Graph
from calibration.halves import HALVES, Half
from calibration.layers import Layer

__all__ = ["TARGETS", "Scale", "Target", "activation_scale", "quantise_layers", "quantise_weights"]

Target = Literal["cpu", "tensorrt"]
TARGETS: Final[tuple[Target, ...]] = ("cpu", "tensorrt")
LARGEST: Final = 127
"""Largest magnitude of a symmetric int8 number; -128 is not used."""
LEVELS: Final = 255
"""Steps of uint8."""
TINY: Final = 1e-12
"""Smallest scale: a channel of zeros has no range, and a scale must be positive."""


@dataclass(frozen=True)
class Scale:
    """How a tensor of activations is written in eight bits: ``value = scale (q - zero_point)``."""

    scale: float
    zero_point: int
    signed: bool


def activation_scale(low: float, high: float, target: Target) -> Scale:
    """Return the scale that covers ``[low, high]`` and has 0 exactly."""
    low, high = min(low, 0.0), max(high, 0.0)
    if target == "tensorrt":
        return Scale(max(-low, high, TINY) / LARGEST, 0, signed=True)
    scale = max(high - low, TINY) / LEVELS
    return Scale(scale, int(np.clip(np.rint(-low / scale), 0, LEVELS)), signed=False)


def quantise_weights(
    weights: NDArray[np.float32], axis: int, half: Half | None = None
) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Return int8 weights and their scales, one along ``axis``.

    Parameters
    ----------
    weights
        Of any shape, float32.
    axis
        Of the output channels.
    half
        Format of 16 bits in which the scales must be exact.

    Returns
    -------
    quantised, scales
        int8 of the same shape, and (channels,) float32.
    """
    others = tuple(i for i in range(weights.ndim) if i != axis)
    scales = (np.maximum(np.abs(weights).max(axis=others), TINY) / LARGEST).astype(np.float32)
    scales = _exact(scales, half)
    shape = [1] * weights.ndim
    shape[axis] = -1
    quantised = np.clip(np.rint(weights / scales.reshape(shape)), -LARGEST, LARGEST)
    return quantised.astype(np.int8), scales


def quantise_layers(
    graph: Graph,
    layers: Iterable[Layer],
    ranges: Mapping[str, tuple[float, float]],
    target: Target,
    half: Half | None = None,
) -> onnx.ModelProto:
    """Return a copy of a graph with Q/DQ around the activations and weights of ``layers``.

    Parameters
    ----------
    graph
        As `calibration.simplify.prepare` returns it; not changed.
    layers
        What to quantise, of `calibration.layers.find_layers`.
    ranges
        Tensor of activations -> lowest and highest value that must be kept.
    target
        Dialect.
    half
        Format of 16 bits into which the graph will be put (`calibration.halves.convert`).
    """
    model = onnx.ModelProto()
    model.CopyFrom(graph.model)
    copy = Graph(model)
    activations: dict[str, str] = {}
    weights: dict[tuple[str, int], str] = {}
    for layer in layers:
        node = copy.producer[layer.node]
        if layer.activation not in activations:
            scale = activation_scale(*ranges[layer.activation], target)
            if half is not None:
                scale = replace(scale, scale=float(_exact(np.float32(scale.scale), half)))
            activations[layer.activation] = _quantised_activation(copy, layer.activation, scale)
        key = layer.weight, layer.channel_axis
        if key not in weights:
            weights[key] = _quantised_weight(copy, *key, half)
        copy.replace_input(node, 0, activations[layer.activation])
        copy.replace_input(node, 1, weights[key])
    copy.sort()
    copy.prune()
    return model


def _quantised_activation(graph: Graph, tensor: str, scale: Scale) -> str:
    kind: Any = np.int8 if scale.signed else np.uint8
    parameters = [
        graph.add_constant(f"{tensor}_scale", np.array(scale.scale, np.float32)),
        graph.add_constant(f"{tensor}_zero_point", np.array(scale.zero_point, kind)),
    ]
    quantised = graph.add_node("QuantizeLinear", [tensor, *parameters], f"{tensor}_quantised")
    inputs = [quantised.output[0], *parameters]
    restored = graph.add_node("DequantizeLinear", inputs, f"{tensor}_dequantised")
    return str(restored.output[0])


def _exact(scales: NDArray[np.float32] | np.float32, half: Half | None) -> NDArray[np.float32]:
    """Return scales that the format holds exactly, and that cover no less."""
    if half is None:
        return np.asarray(scales)
    low = HALVES[half].dtype
    smallest = np.nextafter(np.array(0, low), np.array(1, low)).astype(np.float32)
    nearest = np.maximum(scales, smallest).astype(low)
    larger = np.nextafter(nearest, np.array(np.inf, low))
    covering = np.where(nearest.astype(np.float32) < scales, larger, nearest)
    return np.asarray(covering, np.float32)


def _quantised_weight(graph: Graph, tensor: str, axis: int, half: Half | None) -> str:
    values, scales = quantise_weights(graph.array(tensor), axis, half)
    inputs = [
        graph.add_constant(f"{tensor}_quantised", values),
        graph.add_constant(f"{tensor}_scale", scales),
        graph.add_constant(f"{tensor}_zero_point", np.zeros(len(scales), np.int8)),
    ]
    node = graph.add_node("DequantizeLinear", inputs, f"{tensor}_dequantised", axis=axis)
    return str(node.output[0])
