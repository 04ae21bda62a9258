"""Ratio of two resolutions on the same events."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from xec_deploy.errors import UsageError
from xec_deploy.physics.resolution import BOOTSTRAP_EVENTS
from xec_deploy.physics.width import ONE_SIGMA, interval_of_sorted

__all__ = ["Ratio", "paired_ratio"]

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Ratio:
    """Ratio of two widths sigma68 and its bootstrap error, from n events both have a value for."""

    value: float
    error: float
    n: int


def paired_ratio(
    numerator: ArrayLike,
    denominator: ArrayLike,
    *,
    one_sided: bool = False,
    replicas: int = 200,
    seed: int = 20_240_190,
) -> Ratio:
    """Return sigma68(numerator) / sigma68(denominator) on events where both are finite.

    The bootstrap draws events, not residuals: both widths of a replica come from the same
    events, so that what the methods have in common (leakage, a common spread) cancels in the
    error as it does in the ratio (B. Efron and R. J. Tibshirani, An Introduction to the Bootstrap
    (1993), section 8.3).

    Parameters
    ----------
    numerator, denominator
        (n,) residuals of the same events in the same order.
    one_sided
        Whether they are opening angles, whose width is a quantile.
    replicas, seed
        Bootstrap samples and their seed.

    Raises
    ------
    UsageError
        If the shapes differ.
    """
    pair = [np.asarray(side, dtype=np.float64) for side in (numerator, denominator)]
    if pair[0].ndim != 1 or pair[0].shape != pair[1].shape:
        raise UsageError(
            f"the residuals have shapes {pair[0].shape} and {pair[1].shape}",
            fix="Pass one value of each for every event.",
        )
    both = np.isfinite(pair[0]) & np.isfinite(pair[1])
    first, second = pair[0][both], pair[1][both]
    n = len(first)
    if n < 2:
        return Ratio(math.nan, math.nan, n)
    random = np.random.default_rng(seed)
    size = min(n, BOOTSTRAP_EVENTS)
    samples = []
    for _ in range(replicas):
        drawn = random.integers(n, size=size)
        samples.append(_quotient(first[drawn], second[drawn], one_sided=one_sided))
    # A degenerate replica, of equal values alone, has no ratio.
    usable = [sample for sample in samples if math.isfinite(sample)]
    error = float(np.std(usable, ddof=1)) * math.sqrt(size / n) if len(usable) > 1 else math.nan
    return Ratio(_quotient(first, second, one_sided=one_sided), error, n)


def _quotient(first: FloatArray, second: FloatArray, *, one_sided: bool) -> float:
    below = _width(second, one_sided=one_sided)
    return _width(first, one_sided=one_sided) / below if below > 0 else math.nan


def _width(values: FloatArray, *, one_sided: bool) -> float:
    if one_sided:
        return float(np.quantile(values, ONE_SIGMA))
    low, high = interval_of_sorted(np.sort(values), ONE_SIGMA)
    return (high - low) / 2
