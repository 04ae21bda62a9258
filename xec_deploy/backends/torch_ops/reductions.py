"""Operators that make fewer elements of many."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import torch
from torch import Tensor

from xec_deploy.backends.torch_ops.kinds import Attributes, Operator, OpError, integers

__all__ = ["REDUCTIONS"]

Reduction = Callable[[Tensor, list[int], bool], Tensor]


def _reduction(function: Reduction) -> Operator:
    """Return an operator with axes as an input, an older one's attribute, or neither."""

    def operator(attributes: Attributes, x: Tensor, axes: Tensor | None = None) -> Tensor:
        chosen = integers(axes) or list(attributes.get("axes", []))
        if not chosen:
            if attributes.get("noop_with_empty_axes"):
                return x
            chosen = list(range(x.ndim))
        return function(x, chosen, bool(attributes.get("keepdims", 1)))

    return operator


def _product(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    for axis in sorted((axis % x.ndim for axis in axes), reverse=True):
        x = torch.prod(x, axis, keepdim=keep)
    return x


def _cumulative_sum(attributes: Attributes, x: Tensor, axis: Tensor) -> Tensor:
    if attributes.get("exclusive") or attributes.get("reverse"):
        raise OpError("exclusive or reverse sums")
    return torch.cumsum(x, int(axis))


def _position(function: Callable[..., Tensor]) -> Operator:
    def operator(attributes: Attributes, x: Tensor) -> Tensor:
        if attributes.get("select_last_index"):
            raise OpError("the last of equal elements")
        return function(x, attributes.get("axis", 0), bool(attributes.get("keepdims", 1)))

    return operator


def _softmax(function: Callable[[Tensor, int], Tensor]) -> Operator:
    def operator(attributes: Attributes, x: Tensor) -> Tensor:
        return function(x, attributes.get("axis", -1))

    return operator


REDUCTIONS: Final[dict[str, Operator]] = {
    "ArgMax": _position(torch.argmax),
    "ArgMin": _position(torch.argmin),
    "CumSum": _cumulative_sum,
    "LogSoftmax": _softmax(torch.log_softmax),
    "ReduceL1": _reduction(lambda x, axes, keep: torch.sum(torch.abs(x), axes, keep)),
    "ReduceL2": _reduction(lambda x, axes, keep: torch.sqrt(torch.sum(x * x, axes, keep))),
    "ReduceLogSumExp": _reduction(torch.logsumexp),
    "ReduceMax": _reduction(torch.amax),
    "ReduceMean": _reduction(torch.mean),
    "ReduceMin": _reduction(torch.amin),
    "ReduceProd": _reduction(_product),
    "ReduceSum": _reduction(torch.sum),
    "ReduceSumSquare": _reduction(lambda x, axes, keep: torch.sum(x * x, axes, keep)),
    "Softmax": _softmax(torch.softmax),
}
