"""Graphs of lower precision: what stays in float32, and what a Q/DQ pair must be like."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper

from xec_deploy.checks.registry import Finding, NotApplicable, check
from xec_deploy.checks.subject import Subject

__all__ = ["SENSITIVE"]

SENSITIVE: Final = frozenset(
    {
        *("LayerNormalization", "GroupNormalization", "InstanceNormalization", "LpNormalization"),
        *("Softmax", "LogSoftmax", "Exp", "Log", "Pow"),
        *("ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMean", "ReduceProd"),
        *("ReduceSum", "ReduceSumSquare", "CumSum", "GlobalAveragePool"),
    }
)
"""Operators whose sums or ranges outgrow 16 bits."""

_HALVES: Final = frozenset({TensorProto.FLOAT16, TensorProto.BFLOAT16})
_QDQ: Final = frozenset({"QuantizeLinear", "DequantizeLinear"})
_CPU: Final = "int8-cpu"


@check("E16")
def sensitive_in_fp32(subject: Subject) -> Iterator[Finding]:
    """In 16-bit graphs, normalisations, softmax, sums, exp, log and pow take float32.

    Protects the physics: float16 ends at 65504, which a sum of squares over 4000 sensors or an
    exponential of a logarithm passes, and both 16-bit formats lose the small differences a
    normalisation subtracts. A graph that is named fp16 or bf16 and has no such tensor fails too:
    its engine would be an fp32 engine under another name.
    """
    halves = subject.element_types & _HALVES
    if not halves:
        if subject.precision in {"fp16", "bf16"}:
            yield Finding(f"the graph is named {subject.precision} and has no 16-bit tensor")
            return
        raise NotApplicable("the graph has no 16-bit tensors")
    for node in subject.model.graph.node:
        if node.op_type not in SENSITIVE or not node.input:
            continue
        element = subject.types.get(node.input[0])
        if element in _HALVES:
            yield Finding(
                f"takes {TensorProto.DataType.Name(element)}",
                node=node.name,
                operator=node.op_type,
                tensor=node.input[0],
            )


@check("E17")
def quantisation(subject: Subject) -> Iterator[Finding]:
    """Q/DQ pairs are what the target takes: zero points, types, scales and axes.

    Protects from graphs that are refused, or rounded along the wrong axis. TensorRT takes symmetric
    int8 only: zero points of 0, no uint8, no int32 bias behind a DequantizeLinear, which is what
    onnxruntime's quantiser writes by default. CPUs want uint8 activations with int8 weights, and
    only int8 zero points are bound to 0 there. For both, scales are finite and positive, and
    one per channel of the output axis, or the numbers of one channel are read with another's scale.
    A graph that is named int8 and has no pair fails.
    """
    pairs = [node for node in subject.model.graph.node if node.op_type in _QDQ]
    named = subject.precision is not None and subject.precision.startswith("int8")
    if not pairs:
        if named:
            yield Finding(f"the graph is named {subject.precision} and has no Q/DQ pair")
            return
        raise NotApplicable("the graph has no Q/DQ pairs")
    for node in pairs:
        for message in _pair(node, subject):
            yield Finding(message, node=node.name, operator=node.op_type)


def _pair(node: onnx.NodeProto, subject: Subject) -> Iterator[str]:
    scale = _constant(subject, node.input[1])
    if scale is None:
        yield "its scale is no constant"
        return
    if not (np.isfinite(scale).all() and (scale > 0).all()):
        yield "a scale is not finite and positive"
    yield from _types(node, subject)
    if scale.ndim:
        yield from _axis(node, subject, len(scale))


def _types(node: onnx.NodeProto, subject: Subject) -> Iterator[str]:
    point = node.input[2] if len(node.input) > 2 else ""
    quantised = node.input[0] if node.op_type == "DequantizeLinear" else node.output[0]
    element = subject.types.get(quantised)
    if subject.precision != _CPU:
        if element == TensorProto.UINT8:
            yield "is uint8, TensorRT takes int8"
        if element == TensorProto.INT32:
            yield "dequantises int32 (a quantised bias), which TensorRT refuses"
    if point and element in {TensorProto.INT8, TensorProto.INT32}:
        values = _constant(subject, point)
        if values is None:
            yield "its zero point is no constant"
        elif (values != 0).any():
            yield f"has the zero point {int(values[values != 0].flat[0])}, which must be 0"


def _axis(node: onnx.NodeProto, subject: Subject, channels: int) -> Iterator[str]:
    axis = next((a.i for a in node.attribute if a.name == "axis"), 1)
    shape = _shape(subject, node.input[0])
    if shape is None:
        yield "has a scale per channel of a tensor without a shape"
        return
    if not -len(shape) <= axis < len(shape):
        yield f"axis {axis} of a tensor of rank {len(shape)}"
        return
    if shape[axis] != channels:
        yield f"has {channels} scales for the {shape[axis]} channels of axis {axis}"
    for user, place in _users(subject, node):
        wanted = _output_axis(user, place, len(shape))
        if wanted is not None and axis % len(shape) != wanted:
            yield (
                f"has scales along axis {axis % len(shape)}, {user.op_type} {user.name!r} needs "
                f"them along its output axis {wanted}"
            )


def _users(subject: Subject, node: onnx.NodeProto) -> Iterator[tuple[onnx.NodeProto, int]]:
    """Iterate over the layers that take a dequantised tensor, and as which input."""
    if node.op_type != "DequantizeLinear":
        return
    for user in subject.model.graph.node:
        for place, name in enumerate(user.input):
            if name == node.output[0]:
                yield user, place


def _output_axis(user: onnx.NodeProto, place: int, rank: int) -> int | None:
    """Return the axis of a weight that runs over output channels; None if unknown."""
    if place != 1:
        return None
    if user.op_type == "Conv":
        return 0
    if user.op_type == "ConvTranspose":
        return 1
    if user.op_type == "MatMul":
        return rank - 1
    if user.op_type == "Gemm":
        return 0 if any(a.name == "transB" and a.i for a in user.attribute) else 1
    return None


def _constant(subject: Subject, name: str) -> NDArray[Any] | None:
    tensor = subject.initialisers.get(name)
    return None if tensor is None else np.asarray(numpy_helper.to_array(tensor))


def _shape(subject: Subject, name: str) -> list[int] | None:
    if name in subject.initialisers:
        return list(subject.initialisers[name].dims)
    for value in [*subject.inferred.value_info, *subject.inferred.input]:
        if value.name == name and value.type.tensor_type.HasField("shape"):
            return [d.dim_value for d in value.type.tensor_type.shape.dim]
    return None
