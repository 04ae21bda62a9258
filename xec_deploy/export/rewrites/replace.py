"""Exchanging submodules of a network for faster ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn

__all__ = ["constant", "replace"]

Old = TypeVar("Old", bound=nn.Module)


def replace(module: nn.Module, kind: type[Old], build: Callable[[Old], nn.Module]) -> nn.Module:
    """Exchange every submodule of a type, the module itself included; return the module.

    What ``build`` returns is not searched again.  A submodule that is used in several places is
    built once.
    """
    if isinstance(module, kind):
        return build(module)
    built: dict[nn.Module, nn.Module] = {}
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, kind):
                if child not in built:
                    built[child] = build(child)
                setattr(parent, name, built[child])
    return module


def constant(value: Tensor, like: Tensor) -> nn.Parameter:
    """Return a float64 value as a weight that is not trained, of the dtype of ``like``."""
    return nn.Parameter(value.detach().to(like.dtype).contiguous(), requires_grad=False)


def exact(value: Tensor) -> Tensor:
    """Return a weight in float64: products of weights are rounded once, at the end."""
    return value.detach().to(torch.float64)
