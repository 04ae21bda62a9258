"""What torch multiplies in: exact float32, TF32, or 16 bits where the network tolerates it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, cast

import onnx
import torch
from onnx import TensorProto

from xec_deploy.errors import UsageError, nearest

__all__ = ["HALVES", "PRECISIONS", "graph_in", "products_in"]

HALVES: Final = ("fp16", "bf16")
PRECISIONS: Final = ("fp32", "tf32", *HALVES)
"""What the fp32 graph can be computed in."""
_SIXTEEN_BITS: Final = {TensorProto.FLOAT16, TensorProto.BFLOAT16}


@contextmanager
def products_in(precision: str) -> Iterator[None]:
    """Set how torch multiplies float32 matrices on a GPU, for all threads, and set it back.

    Without this convolutions are in TF32 (a mantissa of 10 bits), and sums of 16-bit products are
    split into parts that are rounded to 16 bits.
    """
    kind = "tf32" if precision == "tf32" else "ieee"
    matmul: Any = torch.backends.cuda.matmul
    cudnn: Any = torch.backends.cudnn
    settings: list[tuple[Any, str, Any]] = [
        (matmul, "fp32_precision", kind),
        (cudnn.conv, "fp32_precision", kind),
        (matmul, "allow_fp16_reduced_precision_reduction", False),
        (matmul, "allow_bf16_reduced_precision_reduction", False),
    ]
    before = [(owner, name, getattr(owner, name)) for owner, name, _ in settings]
    for owner, name, value in settings:
        setattr(owner, name, value)
    try:
        yield
    finally:
        for owner, name, value in before:
            setattr(owner, name, value)


def graph_in(model: onnx.ModelProto, precision: str) -> onnx.ModelProto:
    """Return a graph with its heavy layers in 16 bits, if that is asked for and they are not yet.

    Which operations stay in float32 is the policy of ``calibration.halves``, with every trained
    layer in 16 bits but the last before each output, whose rounding would be that of the result.
    There is no search for layers that tolerate it: the golden events decide.

    Parameters
    ----------
    model
        A graph of the bundle.
    precision
        One of :data:`PRECISIONS`, or the name of a graph, which is computed as it is written.

    Raises
    ------
    UsageError
        If the precision is unknown.
    """
    if precision.partition("-")[0] not in (*PRECISIONS, "int8"):
        raise UsageError(
            f"torch does not compute in {precision!r}", fix=nearest(precision, PRECISIONS)
        )
    if precision not in HALVES or _has_sixteen_bits(model):
        return model
    # Late: quantising is another package's business, whose policy this follows.
    from calibration.halves import Half, convert  # noqa: PLC0415
    from calibration.layers import find_layers, last_layers  # noqa: PLC0415
    from calibration.simplify import prepare  # noqa: PLC0415

    graph = prepare(model)
    layers = find_layers(graph)
    exact = last_layers(graph, layers)
    low = [layer for layer in layers if layer not in exact]
    return convert(graph, low, cast("Half", precision))


def _has_sixteen_bits(model: onnx.ModelProto) -> bool:
    """Whether a graph has tensors of 16 bits already."""
    if any(tensor.data_type in _SIXTEEN_BITS for tensor in model.graph.initializer):
        return True
    casts = (node for node in model.graph.node if node.op_type == "Cast")
    return any(
        attribute.name == "to" and attribute.i in _SIXTEEN_BITS
        for node in casts
        for attribute in node.attribute
    )
