"""Anchors in closed form: ridge regressions on the moments, as strong as the events ask for.

With as few events as three for every moment, least squares follows their noise.  How much to hold
against that is found by cross validation over events, for each quantity by itself; what to hold it
with is known better after a pretraining, which has seen how noisy each moment is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import torch
from torch import Tensor, nn

from xec_train.models import TaskName
from xec_train.models.xec import N_MOMENTS, XecRegressor

__all__ = ["fit_anchors", "last_layer"]

FLOOR: Final = 1e-7
"""Of the ridge: a moment that never varies (no times in the files) must not make a matrix
singular."""
RIDGES: Final = (0.0, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
"""Strengths that are tried, in units of the mean square of a standardised moment."""
FOLDS: Final = 5


def fit_anchors(
    model: XecRegressor,
    moments: Tensor,
    learned: Mapping[TaskName, Tensor],
    *,
    copies: int = 1,
    noise: Tensor | None = None,
) -> dict[TaskName, float]:
    """Set the anchors to a linear estimate of what is learned, and corrections to zero.

    Parameters
    ----------
    model
        Its anchors are set; those of tasks that ``learned`` lacks (classes) and of log variances
        are zero.
    moments
        (n, N_MOMENTS) standardised.
    learned
        Per task (n, components): the targets, or their logarithms.
    copies
        The rows are this many copies of the same events, one copy after another.
    noise
        (N_MOMENTS,) variances of the moments' noise; a weight on a noisy one costs more.  None for
        all alike.

    Returns
    -------
    ridges
        The strength chosen for each task.
    """
    design = torch.cat([moments, torch.ones(len(moments), 1)], dim=1).double()
    penalty = torch.ones(N_MOMENTS + 1, dtype=torch.float64)
    if noise is not None:
        penalty[:N_MOMENTS] = noise / noise.mean()
    penalty[N_MOMENTS] = 0.0
    events = max(1, len(moments) // copies)
    fold = torch.arange(len(moments)) % events * FOLDS // events
    chosen: dict[TaskName, float] = {}
    with torch.no_grad():
        for task in model.config.active_tasks:
            anchor, last = model.anchors[task], last_layer(model.heads[task])
            assert isinstance(anchor, nn.Linear)  # noqa: S101 - built so
            for parameter in (anchor.weight, anchor.bias, last.weight, last.bias):
                parameter.zero_()
            if task in learned:
                solution, chosen[task] = _fit(design, learned[task].double(), penalty, fold)
                components = learned[task].shape[1]
                anchor.weight[:components] = solution[:N_MOMENTS].T
                anchor.bias[:components] = solution[N_MOMENTS]
    return chosen


def last_layer(head: nn.Module) -> nn.Linear:
    """Return the linear layer that a head ends with."""
    return [layer for layer in head.modules() if isinstance(layer, nn.Linear)][-1]


def _fit(design: Tensor, target: Tensor, penalty: Tensor, fold: Tensor) -> tuple[Tensor, float]:
    """Return coefficients (columns, components) and the strength with the smallest error."""
    squares, products = [], []
    for number in range(FOLDS):
        part = design[fold == number]
        squares.append(part.T @ part)
        products.append(part.T @ target[fold == number])
    square, product = torch.stack(squares).sum(0), torch.stack(products).sum(0)
    spread = target.std(dim=0, correction=0).clamp_min(1e-12)
    errors = dict.fromkeys(RIDGES, 0.0)
    for number in range(FOLDS):
        rows = fold == number
        if not rows.any() or rows.all():
            continue
        rest = square - squares[number], product - products[number]
        for ridge in RIDGES:
            prediction = design[rows] @ _solve(*rest, penalty, ridge, int((~rows).sum()))
            errors[ridge] += float(((prediction - target[rows]) / spread).abs().sum())
    best = min(RIDGES, key=lambda ridge: errors[ridge])
    return _solve(square, product, penalty, best, len(design)), best


def _solve(square: Tensor, product: Tensor, penalty: Tensor, ridge: float, rows: int) -> Tensor:
    normal = square.clone()
    normal.diagonal().add_(rows * (FLOOR + ridge * penalty))
    solution: Tensor = torch.linalg.solve(normal, product)
    return solution
