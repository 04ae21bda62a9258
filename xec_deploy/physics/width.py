"""Width of a distribution: the smallest interval, and the Gaussian core with its tails.

References
----------
.. [1] R. Gruebel, The length of the shorth, Ann. Statist. 16 (1988) 619.
.. [2] N. L. Johnson, S. Kotz and N. Balakrishnan, Continuous Univariate Distributions 1 (1994),
   section 13.10: moments of the truncated normal distribution.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from xec_deploy.errors import UsageError

__all__ = [
    "ONE_SIGMA",
    "GaussianCore",
    "core_of_sorted",
    "finite_values",
    "gaussian_core",
    "interval_of_sorted",
    "median_of_sorted",
    "smallest_interval",
]

FloatArray = NDArray[np.float64]

ONE_SIGMA: Final = math.erf(1 / math.sqrt(2))
"""Share of a Gaussian within one standard deviation, 0.6827."""
CORE_WINDOW: Final = 2.0
TAIL_WINDOW: Final = 3.0
CORE_TOLERANCE: Final = 1e-4


@dataclass(frozen=True)
class GaussianCore:
    """Mean and standard deviation of the Gaussian core, and the share beyond three of them.

    A Gaussian has 0.0027 of its events in ``tail_fraction``.
    """

    mean: float
    sigma: float
    tail_fraction: float


def smallest_interval(values: ArrayLike, fraction: float = ONE_SIGMA) -> tuple[float, float]:
    """Return the ends of the smallest interval that holds a fraction of the values [1]_.

    Parameters
    ----------
    values
        Any shape; values that are not finite are left out.
    fraction
        Share of the values to hold, 0 to 1 (exclusive, inclusive).

    Returns
    -------
    low, high
        The interval, closed; NaN without two finite values.  Of several equally small intervals
        the lowest counts.

    Raises
    ------
    UsageError
        If the fraction is not in (0, 1].
    """
    if not 0 < fraction <= 1:
        raise UsageError(f"the fraction {fraction} is not in (0, 1]")
    ordered = np.sort(finite_values(values))
    if len(ordered) < 2:
        return math.nan, math.nan
    return interval_of_sorted(ordered, fraction)


def gaussian_core(values: ArrayLike) -> GaussianCore:
    """Return the Gaussian core of a distribution with tails.

    Mean and standard deviation of the values within two sigma of the mean, the latter divided by
    that of a unit Gaussian truncated there [2]_, repeated until they change by less than 1e-4.  A
    Gaussian is the fixed point; tails beyond two sigma have no weight.
    """
    return core_of_sorted(np.sort(finite_values(values)))


def finite_values(values: ArrayLike) -> FloatArray:
    """Return the finite values, flat, float64."""
    array = np.ravel(np.asarray(values, dtype=np.float64))
    return array[np.isfinite(array)]


def interval_of_sorted(ordered: FloatArray, fraction: float) -> tuple[float, float]:
    """Do `smallest_interval` for ascending finite values, two at least."""
    count = max(math.ceil(fraction * len(ordered)), 2)
    width = ordered[count - 1 :] - ordered[: len(ordered) - count + 1]
    first = int(width.argmin())
    return float(ordered[first]), float(ordered[first + count - 1])


def core_of_sorted(ordered: FloatArray) -> GaussianCore:
    """Do `gaussian_core` for ascending finite values."""
    if len(ordered) < 2:
        return GaussianCore(math.nan, math.nan, math.nan)
    low, high = interval_of_sorted(ordered, ONE_SIGMA)
    mean, sigma = median_of_sorted(ordered), (high - low) / 2
    density = math.exp(-(CORE_WINDOW**2) / 2) / math.sqrt(2 * math.pi)
    shrink = math.sqrt(1 - 2 * CORE_WINDOW * density / math.erf(CORE_WINDOW / math.sqrt(2)))
    for _ in range(100):
        inside = _between(ordered, mean, CORE_WINDOW * sigma)
        if len(inside) < 2:
            break
        previous = mean, sigma
        mean, sigma = float(inside.mean()), float(inside.std()) / shrink
        if math.isclose(sigma, previous[1], rel_tol=CORE_TOLERANCE):
            break
    outside = len(ordered) - len(_between(ordered, mean, TAIL_WINDOW * sigma))
    return GaussianCore(mean, sigma, outside / len(ordered))


def median_of_sorted(ordered: FloatArray) -> float:
    """Return the median of ascending values; numpy.median would sort them again."""
    half = len(ordered) // 2
    return float(ordered[half] + ordered[-half - 1]) / 2


def _between(ordered: FloatArray, mean: float, reach: float) -> FloatArray:
    first, last = np.searchsorted(ordered, (mean - reach, mean + reach))
    # A degenerate sample, all values equal, is its own core.
    return ordered[first : max(last, np.searchsorted(ordered, mean + reach, side="right"))]
