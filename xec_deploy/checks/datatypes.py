"""Element types that cost speed or are changed without a word."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from onnx import TensorProto

from xec_deploy.checks.registry import Finding, check
from xec_deploy.checks.subject import Subject

__all__ = ["SHAPE_SOURCES"]

SHAPE_SOURCES: Final = frozenset({"Shape", "Size", "Constant"})
"""Operators whose result depends on shapes alone, whatever goes in."""


@check("E08")
def no_float64(subject: Subject) -> Iterator[Finding]:
    """No tensor is float64.

    Protects from a graph that is computed in different precisions by different engines: TensorRT's
    parser turns float64 into float32 and says nothing. It comes in by a Python constant and doubles
    the cost of whatever it touches.
    """
    for tensor in subject.tensors():
        if tensor.data_type == TensorProto.DOUBLE:
            yield Finding("is a float64 constant", tensor=tensor.name)
    for node in subject.model.graph.node:
        for name in node.output:
            if subject.types.get(name) == TensorProto.DOUBLE:
                yield Finding("gives float64", node=node.name, operator=node.op_type, tensor=name)
    for value in subject.model.graph.input:
        if value.type.tensor_type.elem_type == TensorProto.DOUBLE:
            yield Finding("is a float64 input", tensor=value.name)


@check("W18")
def int64_in_shapes_only(subject: Subject) -> Iterator[Finding]:
    """Integers of 64 bits are computed from shapes and constants only.

    Warns of index arithmetic on event data (argmax, casts of data to integers): it is slow on every
    engine, emulated on a GPU, and usually stands for a gather whose indices could be constants.
    """
    # Whatever depends on shapes and constants alone is known before the first event.
    fixed = set(subject.initialisers)
    for node in subject.model.graph.node:
        if node.op_type in SHAPE_SOURCES or all(name in fixed for name in node.input if name):
            fixed.update(node.output)
            continue
        for name in node.output:
            if subject.types.get(name) == TensorProto.INT64:
                yield Finding(
                    "computes int64 from event data",
                    node=node.name,
                    operator=node.op_type,
                    tensor=name,
                )
