"""What the functions of operators have in common."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

__all__ = ["Attributes", "OpError", "Operator", "integers", "text", "torch_type"]

Attributes = Mapping[str, Any]
Operator = Callable[..., Tensor | tuple[Tensor, ...]]
"""Takes attributes and inputs, with None for one that is left out."""

TYPES = {
    1: torch.float32, 2: torch.uint8, 3: torch.int8, 5: torch.int16, 6: torch.int32,
    7: torch.int64, 9: torch.bool, 10: torch.float16, 11: torch.float64, 16: torch.bfloat16,
}  # fmt: skip
"""Torch's types by the numbers of onnx.TensorProto."""


class OpError(ValueError):
    """A form of an operator that its function does not know."""


def torch_type(number: int) -> torch.dtype:
    """Return the type an ONNX number stands for."""
    if number not in TYPES:
        raise OpError(f"type {number} of ONNX")
    return TYPES[number]


def integers(values: Tensor | None) -> list[int]:
    """Return the numbers of an input that says where, not what: axes, sizes, steps."""
    return [] if values is None else [int(value) for value in values.reshape(-1).tolist()]


def text(attributes: Attributes, name: str, default: str) -> str:
    """Return an attribute that is text."""
    value = attributes.get(name, default)
    return value.decode() if isinstance(value, bytes) else str(value)
