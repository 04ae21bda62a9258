"""Graphs in which the heavy operations run on 16-bit floats.

What is in 16 bits: products of the chosen groups of layers, and between them the operations that
only move or combine their results (`FOLLOWERS`), as long as everything they read is in 16 bits
already.  What stays in float32, always:

* everything before the first layer: raw inputs are normalised exactly;
* the last layer of each head and what follows it: an angle of 90 degrees in 16 bits is off by more
  than the gate;
* layer normalisation, softmax, reductions, exp, log, pow, square roots and divisions: sums of many
  terms and steep functions, which lose digits in 16 bits (`SENSITIVE` names them for readers; what
  is not a follower is not converted);
* the residual stream wherever it comes from a normalisation;
* inputs and outputs of the graph.

Casts stand on the borders, one for each tensor.  Layers that are in int8 already read and write
16 bits like the others: their scales are 16-bit numbers then.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, Literal

import ml_dtypes
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper

from calibration.graph import Graph
from calibration.layers import Layer

__all__ = [
    "FOLLOWERS",
    "HALVES",
    "SENSITIVE",
    "Half",
    "convert",
    "emulate",
    "low_nodes",
    "rounded",
]

Half = Literal["fp16", "bf16"]


@dataclass(frozen=True)
class _Format:
    onnx_type: int
    dtype: Any
    convolutions: bool
    """Whether opset 20 knows convolutions of this type."""


HALVES: Final[dict[Half, _Format]] = {
    "fp16": _Format(TensorProto.FLOAT16, np.float16, convolutions=True),
    "bf16": _Format(TensorProto.BFLOAT16, ml_dtypes.bfloat16, convolutions=False),
}
FOLLOWERS: Final = frozenset(
    {
        *("Add", "Concat", "Flatten", "Gather", "Gelu", "Identity", "MatMul", "Mul", "Relu"),
        *("Reshape", "Slice", "Split", "Squeeze", "Sub", "Transpose", "Unsqueeze"),
        "QuantizeLinear",
    }
)
SENSITIVE: Final = (
    *("LayerNormalization", "Softmax", "ReduceMean", "ReduceSum", "ReduceL2", "ReduceMax"),
    *("Exp", "Log", "Pow", "Sqrt", "Div", "Reciprocal", "Erf", "Clip", "Where", "AveragePool"),
)
FIRST_INPUT: Final = frozenset(
    {"Reshape", "Gather", "Slice", "Squeeze", "Unsqueeze", "Split", "QuantizeLinear"}
)
"""Operations whose other inputs are shapes, indices or scales."""


def rounded(values: NDArray[Any], half: Half) -> NDArray[np.float32]:
    """Return float32 numbers as 16 bits hold them."""
    # Beyond the range of the format is infinite, which the gate refuses.
    with np.errstate(over="ignore"):
        return np.asarray(values.astype(HALVES[half].dtype), np.float32)


def low_nodes(graph: Graph, layers: Iterable[Layer], half: Half) -> set[str]:
    """Return the nodes in 16 bits, each by its first output.

    Parameters
    ----------
    graph
        The fp32 graph; some of the layers may be in int8.
    layers
        Layers to convert.
    half
        The format; bf16 has no convolutions in opset 20.
    """
    wanted = {layer.node for layer in layers if HALVES[half].convolutions or layer.op != "Conv"}
    low: set[str] = set()
    low_tensors: set[str] = set()
    for node in graph.nodes:
        floats = _activations(graph, node)
        follows = node.op_type in FOLLOWERS and bool(floats) and low_tensors.issuperset(floats)
        restores = node.op_type == "DequantizeLinear" and all(
            reader.output[0] in wanted for reader in graph.consumers[node.output[0]]
        )
        if node.output[0] in wanted or follows or restores:
            low.add(node.output[0])
            low_tensors.update(_floats_of(node))
    return low


def convert(graph: Graph, layers: Iterable[Layer], half: Half) -> onnx.ModelProto:
    """Return a copy of a graph with ``layers`` and what follows them in 16 bits."""
    return _Conversion(graph, layers, half, emulated=False).model


def emulate(graph: Graph, layers: Iterable[Layer], half: Half) -> onnx.ModelProto:
    """Return the graph of `convert` as float32 with every 16-bit tensor rounded.

    It runs where there are no kernels of the format (ONNX Runtime has none for bf16 on a CPU),
    and sums in float32 as matrix units do.  Products of int8 numbers are not rounded before they
    are summed, as no engine does.
    """
    return _Conversion(graph, layers, half, emulated=True).model


class _Conversion:
    """A copy of a graph in which tensors are put into 16 bits, or rounded to them."""

    def __init__(
        self, graph: Graph, layers: Iterable[Layer], half: Half, *, emulated: bool
    ) -> None:
        self._nodes = low_nodes(graph, layers, half)
        self.model = onnx.ModelProto()
        self.model.CopyFrom(graph.model)
        self._graph = Graph(self.model)
        self._half: Half = half
        self._emulated = emulated
        self._made: dict[tuple[str, str], str] = {}
        nodes = self._graph.nodes
        self._low = {
            name for node in nodes if node.output[0] in self._nodes for name in _floats_of(node)
        }
        for node in nodes:
            self._feed(node)
        if not emulated:
            self._restore_outputs()
        self._graph.sort()
        self._graph.prune()

    def _feed(self, node: onnx.NodeProto) -> None:
        """Give a node its inputs in the type it reads."""
        graph = self._graph
        is_low = node.output[0] in self._nodes
        activations = _activations(graph, node)
        for index, name in enumerate(node.input):
            new = None
            if is_low and name in graph.constants:
                if graph.constants[name].data_type == TensorProto.FLOAT:
                    new = self._once("constant", name)
            elif self._emulated:
                if name in self._low or (is_low and name in activations):
                    new = self._once("round", name)
            elif is_low and name in activations and name not in self._low:
                new = self._once("narrow", name)
            elif not is_low and name in self._low:
                new = self._once("widen", name)
            if new is not None and new != name:
                graph.replace_input(node, index, new)

    def _once(self, what: str, name: str) -> str:
        if (what, name) not in self._made:
            make = {
                "constant": self._constant,
                "round": self._round,
                "narrow": self._narrow,
                "widen": self._widen,
            }
            self._made[what, name] = make[what](name)
        return self._made[what, name]

    def _constant(self, name: str) -> str:
        values: NDArray[Any] = rounded(self._graph.array(name), self._half)
        if not self._emulated:
            values = values.astype(HALVES[self._half].dtype)
        fresh = self._graph.fresh(f"{name}_{self._half}")
        return self._graph.add_tensor(numpy_helper.from_array(values, fresh))

    def _narrow(self, name: str) -> str:
        to = HALVES[self._half].onnx_type
        return str(self._graph.add_node("Cast", [name], f"{name}_{self._half}", to=to).output[0])

    def _widen(self, name: str) -> str:
        cast = self._graph.add_node("Cast", [name], f"{name}_fp32", to=TensorProto.FLOAT)
        return str(cast.output[0])

    def _round(self, name: str) -> str:
        node = self._graph.producer.get(name)
        if node is not None and node.op_type == "DequantizeLinear":
            return name
        return self._widen(self._narrow(name))

    def _restore_outputs(self) -> None:
        """Make outputs that a low node computes float32 again, under their own names."""
        graph = self._graph
        for output in graph.outputs:
            if output not in self._low:
                continue
            node = graph.producer[output]
            inner = graph.fresh(f"{output}_low")
            index = list(node.output).index(output)
            node.output[index] = inner
            for consumer in list(graph.consumers.get(output, [])):
                for position, name in enumerate(consumer.input):
                    if name == output:
                        consumer.input[position] = inner
            graph.refresh()
            cast = graph.add_node("Cast", [inner], output, to=TensorProto.FLOAT)
            cast.output[0] = output
            graph.refresh()


def _activations(graph: Graph, node: onnx.NodeProto) -> set[str]:
    """Return the float inputs of a layer, follower or quantisation that are not constants.

    Shapes and indices, the other inputs of followers, are computed by nodes of their own kind.
    """
    if node.op_type == "DequantizeLinear":
        return set()
    inputs = list(node.input)[:1] if node.op_type in FIRST_INPUT else list(node.input)
    return {name for name in inputs if name and name not in graph.constants}


def _floats_of(node: onnx.NodeProto) -> list[str]:
    return [] if node.op_type == "QuantizeLinear" else list(node.output)
