"""Where the inputs of an operator have to be: numbers on the device, shapes on the host."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor

__all__ = ["HOST_INPUTS", "placed"]

HOST_INPUTS: Final[dict[str, frozenset[int]]] = {
    "ConstantOfShape": frozenset({0}),
    "CumSum": frozenset({1}),
    "Expand": frozenset({1}),
    "Pad": frozenset({1, 3}),
    "Range": frozenset({0, 1, 2}),
    "Reshape": frozenset({1}),
    "Resize": frozenset({2, 3}),
    "Slice": frozenset({1, 2, 3, 4}),
    "Split": frozenset({1}),
    "Squeeze": frozenset({1}),
    "Tile": frozenset({1}),
    "Trilu": frozenset({1}),
    "Unsqueeze": frozenset({1}),
    **{
        f"Reduce{kind}": frozenset({1})
        for kind in ("L1", "L2", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare")
    },
}
"""Positions of inputs that say where or how many: Python reads them."""


def placed(
    operator: str, given: Sequence[Tensor | None], device: torch.device
) -> list[Tensor | None]:
    """Return inputs where the operator needs them.

    Arithmetic with shapes, whose inputs are all on the host, stays there.
    """
    host = HOST_INPUTS.get(operator, frozenset())
    numbers = [item for i, item in enumerate(given) if item is not None and i not in host]
    mixed = any(item.device.type != "cpu" for item in numbers)
    found: list[Tensor | None] = []
    for index, item in enumerate(given):
        if item is not None and index in host:
            item = item.cpu()  # noqa: PLW2901
        elif item is not None and mixed:
            item = item.to(device)  # noqa: PLW2901
        found.append(item)
    return found
