"""Constants: folded, finite, and each stored once."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator
from typing import Final

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from xec_deploy.checks.registry import Finding, check
from xec_deploy.checks.subject import Subject

__all__ = ["DUPLICATE_BYTES", "HUGE_BYTES"]

DUPLICATE_BYTES: Final = 4096
"""Smaller copies cost less than the name of a shared one."""
HUGE_BYTES: Final = 256 * 2**20
"""No weight of the detector's networks comes near."""

_KEPT: Final = frozenset({"QuantizeLinear", "DequantizeLinear", "Constant"})
_FLOATS: Final = frozenset(
    {TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16}
)


@check("E11")
def folded(subject: Subject) -> Iterator[Finding]:
    """No node computes a constant from constants.

    Protects speed: what the exporter leaves is computed anew for every batch by engines that do not
    fold, and index constructions left in place hide from other checks what is constant. Quantised
    weights keep their Q/DQ pairs, which tell an engine how they were made.
    """
    fixed = set(subject.initialisers)
    for node in subject.model.graph.node:
        inputs = [name for name in node.input if name]
        if node.op_type in _KEPT or not inputs or any(name not in fixed for name in inputs):
            continue
        fixed.update(node.output)
        yield Finding("could be a constant", node=node.name, operator=node.op_type)


@check("E12")
def finite(subject: Subject) -> Iterator[Finding]:
    """Every constant of floating-point type is finite.

    Protects from weights spoilt by a diverged training or an overflow on the way to float16: one
    infinity makes every output of every event NaN.
    """
    for tensor in subject.tensors():
        if tensor.data_type in _FLOATS and tensor.data_location != TensorProto.EXTERNAL:
            values = np.asarray(numpy_helper.to_array(tensor), dtype=np.float64)
            bad = int((~np.isfinite(values)).sum())
            if bad:
                yield Finding(f"{bad} of {values.size} values are not finite", tensor=tensor.name)


@check("W13")
def stored_once(subject: Subject) -> Iterator[Finding]:
    """No large constant is stored twice, and none is huge.

    Warns of files larger than the model: tied weights written out for each use, and index tables or
    masks expanded over a batch, which cost memory on every engine and time to read.
    """
    copies: dict[tuple[int, tuple[int, ...], bytes], list[str]] = defaultdict(list)
    for tensor in subject.tensors():
        if tensor.data_location == TensorProto.EXTERNAL:
            continue
        size = tensor.ByteSize()
        if size > HUGE_BYTES:
            yield Finding(f"takes {size / 2**20:.0f} MiB", tensor=tensor.name)
        if size >= DUPLICATE_BYTES:
            digest = hashlib.sha256(_content(tensor)).digest()
            copies[tensor.data_type, tuple(tensor.dims), digest].append(tensor.name)
    for names in copies.values():
        if len(names) > 1:
            yield Finding(f"is stored {len(names)} times: {', '.join(names)}", tensor=names[0])


def _content(tensor: onnx.TensorProto) -> bytes:
    return bytes(tensor.raw_data) or bytes(numpy_helper.to_array(tensor).tobytes())
