"""Operators that work element by element."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any, Final

import torch
from torch import Tensor
from torch.nn import functional

from xec_deploy.backends.torch_ops.kinds import Attributes, Operator, text, torch_type

__all__ = ["ELEMENTWISE"]


def _plain(function: Callable[..., Tensor]) -> Operator:
    """Return an operator without attributes."""

    def operator(attributes: Attributes, *inputs: Tensor) -> Tensor:
        del attributes
        return function(*inputs)

    return operator


def _several(function: Callable[[Tensor, Tensor], Tensor]) -> Operator:
    """Return an operator of any number of inputs."""

    def operator(attributes: Attributes, *inputs: Tensor) -> Tensor:
        del attributes
        return reduce(function, inputs)

    return operator


def _divide(attributes: Attributes, left: Tensor, right: Tensor) -> Tensor:
    del attributes
    if left.dtype.is_floating_point:
        return left / right
    return torch.div(left, right, rounding_mode="trunc")


def _modulo(attributes: Attributes, left: Tensor, right: Tensor) -> Tensor:
    # With fmod the sign is the dividend's, as in C.
    return torch.fmod(left, right) if attributes.get("fmod") else torch.remainder(left, right)


def _clip(
    attributes: Attributes, x: Tensor, low: Tensor | None = None, high: Tensor | None = None
) -> Tensor:
    del attributes
    x = x if low is None else torch.maximum(x, low)
    return x if high is None else torch.minimum(x, high)


def _cast(attributes: Attributes, x: Tensor) -> Tensor:
    return x.to(torch_type(attributes["to"]))


def _cast_like(attributes: Attributes, x: Tensor, like: Tensor) -> Tensor:
    del attributes
    return x.to(like.dtype)


def _gelu(attributes: Attributes, x: Tensor) -> Tensor:
    return functional.gelu(x, approximate=text(attributes, "approximate", "none"))


def _is_infinite(attributes: Attributes, x: Tensor) -> Tensor:
    found = torch.isinf(x)
    if not attributes.get("detect_negative", 1):
        found &= x > 0
    if not attributes.get("detect_positive", 1):
        found &= x < 0
    return found


def _with_alpha(function: Callable[[Tensor, float], Tensor], default: float) -> Operator:
    def operator(attributes: Attributes, x: Tensor) -> Tensor:
        return function(x, attributes.get("alpha", default))

    return operator


def _hard_sigmoid(attributes: Attributes, x: Tensor) -> Tensor:
    slope, offset = attributes.get("alpha", 0.2), attributes.get("beta", 0.5)
    return torch.clamp(slope * x + offset, 0, 1)


def _sign(x: Tensor) -> Tensor:
    # Of NaN torch says 0.
    return torch.where(torch.isnan(x), x, torch.sign(x))


def _mean(attributes: Attributes, *inputs: Tensor) -> Tensor:
    del attributes
    total: Any = sum(inputs)
    mean: Tensor = total / len(inputs)
    return mean


ELEMENTWISE: Final[dict[str, Operator]] = {
    "Abs": _plain(torch.abs),
    "Add": _plain(torch.add),
    "And": _plain(torch.logical_and),
    "Atan": _plain(torch.atan),
    "Cast": _cast,
    "CastLike": _cast_like,
    "Ceil": _plain(torch.ceil),
    "Clip": _clip,
    "Cos": _plain(torch.cos),
    "Div": _divide,
    "Elu": _with_alpha(functional.elu, 1.0),
    "Equal": _plain(torch.eq),
    "Erf": _plain(torch.erf),
    "Exp": _plain(torch.exp),
    "Floor": _plain(torch.floor),
    "Gelu": _gelu,
    "Greater": _plain(torch.gt),
    "GreaterOrEqual": _plain(torch.ge),
    "HardSigmoid": _hard_sigmoid,
    "IsInf": _is_infinite,
    "IsNaN": _plain(torch.isnan),
    "LeakyRelu": _with_alpha(functional.leaky_relu, 0.01),
    "Less": _plain(torch.lt),
    "LessOrEqual": _plain(torch.le),
    "Log": _plain(torch.log),
    "Max": _several(torch.maximum),
    "Mean": _mean,
    "Min": _several(torch.minimum),
    "Mod": _modulo,
    "Mul": _plain(torch.mul),
    "Neg": _plain(torch.neg),
    "Not": _plain(torch.logical_not),
    "Or": _plain(torch.logical_or),
    "Pow": _plain(torch.pow),
    "Reciprocal": _plain(torch.reciprocal),
    "Relu": _plain(torch.relu),
    # Half to even, in ONNX as in torch.
    "Round": _plain(torch.round),
    "Sigmoid": _plain(torch.sigmoid),
    "Sign": _plain(_sign),
    "Sin": _plain(torch.sin),
    "Softplus": _plain(functional.softplus),
    "Sqrt": _plain(torch.sqrt),
    "Sub": _plain(torch.sub),
    "Sum": _several(torch.add),
    "Tan": _plain(torch.tan),
    "Tanh": _plain(torch.tanh),
    "Where": _plain(torch.where),
    "Xor": _plain(torch.logical_xor),
}
