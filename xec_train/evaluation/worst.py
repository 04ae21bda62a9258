"""The events a network gets most wrong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["WorstEvent", "worst_events"]

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class WorstEvent:
    """One event.

    Attributes
    ----------
    run, event
        Its numbers.
    score
        What it is ranked by: root of the mean square of residual / sigma68 over quantities, or
        that of the one quantity.
    residual
        By quantity, in its residual unit; None where not computed.
    truth
        By quantity, in the unit of the branch.
    """

    run: int
    event: int
    score: float
    residual: Mapping[str, float | None]
    truth: Mapping[str, float | None]


def worst_events(
    residuals: Mapping[str, FloatArray],
    widths: Mapping[str, float],
    run: NDArray[np.integer],
    event: NDArray[np.integer],
    truth: Mapping[str, NDArray[np.floating]],
    *,
    count: int = 10,
    inside: NDArray[np.bool_] | None = None,
) -> tuple[WorstEvent, ...]:
    """Return the events with the largest score, the worst first.

    An event that lacks a residual is ranked by the others; one that lacks all is not ranked.
    Of equal scores the earlier event comes first.

    Parameters
    ----------
    residuals
        (n,) by quantity.
    widths
        sigma68 by quantity, the yardstick; quantities without a positive one are left out.
    run, event, truth
        (n,) numbers and truth of the events.
    count
        How many.
    inside
        (n,) events to consider; all by default.
    """
    names = [name for name in residuals if widths.get(name, 0.0) > 0]
    if not names:
        return ()
    squares = np.stack([(residuals[name] / widths[name]) ** 2 for name in names])
    known = np.isfinite(squares)
    number = known.sum(axis=0)
    score = np.sqrt(np.where(known, squares, 0.0).sum(axis=0) / np.maximum(number, 1))
    candidates = np.flatnonzero((number > 0) if inside is None else (number > 0) & inside)
    order = candidates[np.argsort(-score[candidates], kind="stable")][:count]
    return tuple(
        WorstEvent(
            run=int(run[index]),
            event=int(event[index]),
            score=float(score[index]),
            residual={name: _number(residuals[name][index]) for name in residuals},
            truth={name: _number(values[index]) for name, values in truth.items()},
        )
        for index in order
    )


def _number(value: np.floating) -> float | None:
    return float(value) if np.isfinite(value) else None
