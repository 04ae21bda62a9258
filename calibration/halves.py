"""Graphs in which the heavy operations run on 16-bit floats.

What is in 16 bits: products of the chosen groups of layers, and between them the operations that
only move or combine their results (`FOLLOWERS`), as long as everything they read is in 16 bits
already.  What stays in float32, always:

* everything before the first layer: raw inputs are normalised exactly;
* layer normalisation, softmax, reductions, exp, log, pow, square roots and divisions: sums of many
  terms and steep functions, which lose digits in 16 bits (`SENSITIVE` names them for readers; what
  is not a follower is not converted);
* the residual stream wherever it comes from a normalisation;
* inputs and outputs of the graph.

Casts stand on the borders, one for each tensor.
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

__all__ = ["FOLLOWERS", "HALVES", "SENSITIVE", "Half", "convert", "emulate", "low_nodes"]

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
    }
)
SENSITIVE: Final = (
    *("LayerNormalization", "Softmax", "ReduceMean", "ReduceSum", "ReduceL2", "ReduceMax"),
    *("Exp", "Log", "Pow", "Sqrt", "Div", "Reciprocal", "Erf", "Clip", "Where", "AveragePool"),
)


def low_nodes(graph: Graph, layers: Iterable[Layer], half: Half) -> set[str]:
    """Return the nodes in 16 bits, each by its first output.

    Parameters
    ----------
    graph
        The fp32 graph.
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
        if node.output[0] in wanted or follows:
            low.add(node.output[0])
            low_tensors.update(node.output)
    return low


def convert(graph: Graph, layers: Iterable[Layer], half: Half) -> onnx.ModelProto:
    """Return a copy of a graph with ``layers`` and what follows them in 16 bits."""
    copy, low = _begin(graph, layers, half)
    kind = HALVES[half].onnx_type
    down: dict[str, str] = {}
    up: dict[str, str] = {}
    low_tensors = {name for node in low for name in node.output}
    for node in copy.nodes:
        is_low = node.output[0] in low_tensors
        for index, name in enumerate(node.input):
            if is_low and name in copy.constants:
                if copy.constants[name].data_type == TensorProto.FLOAT:
                    copy.replace_input(node, index, _half_constant(copy, name, half, down))
            elif is_low and name in _activations(copy, node) and name not in low_tensors:
                if name not in down:
                    down[name] = copy.add_node("Cast", [name], f"{name}_{half}", to=kind).output[0]
                copy.replace_input(node, index, down[name])
            elif not is_low and name in low_tensors:
                if name not in up:
                    up[name] = _widen(copy, name)
                copy.replace_input(node, index, up[name])
    _restore_outputs(copy, low_tensors)
    copy.sort()
    copy.prune()
    return copy.model


def emulate(graph: Graph, layers: Iterable[Layer], half: Half) -> onnx.ModelProto:
    """Return the graph of `convert` as float32 with every 16-bit tensor rounded.

    It runs where there are no kernels of the format (ONNX Runtime has none for bf16 on a CPU),
    and sums in float32 as matrix units do.
    """
    copy, low = _begin(graph, layers, half)
    constants: dict[str, str] = {}
    rounded: dict[str, str] = {}
    low_tensors = {name for node in low for name in node.output}
    for node in copy.nodes:
        is_low = node.output[0] in low_tensors
        for index, name in enumerate(node.input):
            if is_low and name in copy.constants:
                if copy.constants[name].data_type == TensorProto.FLOAT:
                    new = _rounded_constant(copy, name, half, constants)
                    copy.replace_input(node, index, new)
            elif name in low_tensors or (is_low and name in _activations(copy, node)):
                if name not in rounded:
                    rounded[name] = _round(copy, name, half)
                copy.replace_input(node, index, rounded[name])
    copy.sort()
    copy.prune()
    return copy.model


def _begin(graph: Graph, layers: Iterable[Layer], half: Half) -> tuple[Graph, list[onnx.NodeProto]]:
    names = low_nodes(graph, layers, half)
    model = onnx.ModelProto()
    model.CopyFrom(graph.model)
    copy = Graph(model)
    return copy, [node for node in copy.nodes if node.output[0] in names]


def _activations(graph: Graph, node: onnx.NodeProto) -> set[str]:
    """Return the float inputs of a layer or follower that are not constants.

    Shapes and indices, the other inputs of followers, are computed by nodes of their own kind.
    """
    inputs = list(node.input)
    if node.op_type in {"Reshape", "Gather", "Slice", "Squeeze", "Unsqueeze", "Split"}:
        inputs = inputs[:1]
    return {name for name in inputs if name and name not in graph.constants}


def _half_array(graph: Graph, name: str, half: Half) -> NDArray[Any]:
    # Beyond the range of the format is infinite, which the gate refuses.
    with np.errstate(over="ignore"):
        return graph.array(name).astype(HALVES[half].dtype)


def _half_constant(graph: Graph, name: str, half: Half, made: dict[str, str]) -> str:
    if name not in made:
        tensor = numpy_helper.from_array(
            _half_array(graph, name, half), graph.fresh(f"{name}_{half}")
        )
        made[name] = graph.add_tensor(tensor)
    return made[name]


def _rounded_constant(graph: Graph, name: str, half: Half, made: dict[str, str]) -> str:
    if name not in made:
        values = _half_array(graph, name, half).astype(np.float32)
        made[name] = graph.add_constant(f"{name}_{half}", values)
    return made[name]


def _round(graph: Graph, name: str, half: Half) -> str:
    low = graph.add_node("Cast", [name], f"{name}_{half}", to=HALVES[half].onnx_type)
    return str(_widen(graph, low.output[0]))


def _widen(graph: Graph, name: str) -> str:
    node = graph.add_node("Cast", [name], f"{name}_fp32", to=TensorProto.FLOAT)
    return str(node.output[0])


def _restore_outputs(graph: Graph, low_tensors: set[str]) -> None:
    """Make outputs that a low node computes float32 again, under their own names."""
    for output in graph.outputs:
        if output not in low_tensors:
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
