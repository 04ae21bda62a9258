"""Resolution, bias and tails of residuals, with statistical errors.

*Resolution* is half the smallest interval that holds 68.27 % of the residuals: it equals sigma
for a Gaussian, does not depend on binning or on a fit, and cannot hide a tail of more than a
third.  The length of the smallest interval is asymptotically normal [1]_, so that the bootstrap
[2]_ gives its error.  Beside it stand the width of the Gaussian core and the share of events in
the tails, since a single number describes neither.

References
----------
.. [1] R. Gruebel, The length of the shorth, Ann. Statist. 16 (1988) 619.
.. [2] B. Efron and R. J. Tibshirani, An Introduction to the Bootstrap (1993), chapters 6 and 13;
   for subsamples, P. J. Bickel, F. Goetze and W. R. van Zwet, Statistica Sinica 7 (1997) 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from xec_deploy.errors import UsageError
from xec_deploy.physics.width import (
    ONE_SIGMA,
    core_of_sorted,
    finite_values,
    interval_of_sorted,
    median_of_sorted,
)

__all__ = ["Profile", "Resolution", "profile", "resolution"]

FloatArray = NDArray[np.float64]

BOOTSTRAP_EVENTS: Final = 20_000
"""Larger samples are resampled at this size and the error is scaled by root n."""


@dataclass(frozen=True)
class Resolution:
    """Summary of residuals, in their unit; NaN where there are too few events.

    Attributes
    ----------
    n, excluded
        Events used; events left out because their residual is not finite.
    bias, bias_error
        Median and its bootstrap error.
    mean, mean_error
        Mean and its standard error.
    sigma68, sigma68_error
        Half the smallest interval that holds 68.27 %, and its bootstrap error.
    core_mean, core_sigma, core_sigma_error
        Gaussian core, see `~xec_deploy.physics.width.gaussian_core`.
    tail_fraction
        Share of events beyond three core sigma; 0.0027 for a Gaussian.
    rms
        Standard deviation of all events.
    """

    n: int
    excluded: int
    bias: float
    bias_error: float
    mean: float
    mean_error: float
    sigma68: float
    sigma68_error: float
    core_mean: float
    core_sigma: float
    core_sigma_error: float
    tail_fraction: float
    rms: float

    def to_dict(self) -> dict[str, float | int | None]:
        """Return plain numbers for JSON, None for NaN."""
        return {name: _json_number(value) for name, value in asdict(self).items()}


@dataclass(frozen=True, eq=False)
class Profile:
    """Resolution in bins of a variable.

    Attributes
    ----------
    edges
        (m + 1,) bin edges, in the unit of the variable.
    centre
        (m,) mean of the variable in each bin, the middle of an empty bin.
    points
        The m resolutions.
    outside
        Events whose variable is outside all bins or not finite.
    """

    edges: FloatArray
    centre: FloatArray
    points: tuple[Resolution, ...]
    outside: int

    def values(self, name: str) -> FloatArray:
        """Return one attribute of all points, e.g. ``sigma68``, as (m,) float64."""
        return np.array([getattr(point, name) for point in self.points], dtype=np.float64)

    def to_dict(self) -> dict[str, Any]:
        """Return plain lists and numbers for JSON."""
        return {
            "edges": self.edges.tolist(),
            "centre": self.centre.tolist(),
            "points": [point.to_dict() for point in self.points],
            "outside": self.outside,
        }


def resolution(residual: ArrayLike, *, replicas: int = 200, seed: int = 20_240_190) -> Resolution:
    """Summarise residuals.

    Parameters
    ----------
    residual
        Reconstructed minus true values of any shape; those not finite are counted and left out.
    replicas
        Bootstrap samples; 0 leaves the errors NaN.
    seed
        Of the bootstrap: the same residuals give the same errors.
    """
    flat = np.ravel(np.asarray(residual, dtype=np.float64))
    # The order of events must not matter to the bootstrap either.
    ordered = np.sort(finite_values(flat))
    n, excluded = len(ordered), len(flat) - len(ordered)
    if n < 2:
        nan = math.nan
        value = float(ordered[0]) if n else nan
        return Resolution(n, excluded, value, nan, value, *(nan,) * 8)
    errors = _bootstrap(ordered, _estimates, replicas, seed)
    bias, sigma68, core_sigma = _estimates(ordered)
    core = core_of_sorted(ordered)
    rms = float(np.std(ordered))
    return Resolution(
        n=n,
        excluded=excluded,
        bias=float(bias),
        bias_error=float(errors[0]),
        mean=float(np.mean(ordered)),
        mean_error=rms / math.sqrt(n - 1),
        sigma68=float(sigma68),
        sigma68_error=float(errors[1]),
        core_mean=core.mean,
        core_sigma=float(core_sigma),
        core_sigma_error=float(errors[2]),
        tail_fraction=core.tail_fraction,
        rms=rms,
    )


def profile(
    residual: ArrayLike,
    variable: ArrayLike,
    bins: ArrayLike,
    *,
    replicas: int = 100,
    seed: int = 20_240_190,
    estimator: Callable[..., Resolution] | None = None,
) -> Profile:
    """Return the resolution in bins of a variable.

    Parameters
    ----------
    residual, variable
        (n,) each.
    bins
        Ascending edges (m + 1,); a bin holds its lower edge, the last one both.
    replicas, seed
        As in :func:`resolution`.
    estimator
        What summarises the residuals of a bin, called like :func:`resolution`, the default.

    Raises
    ------
    UsageError
        If the shapes differ or the edges do not ascend.
    """
    summarise = resolution if estimator is None else estimator
    residuals = np.asarray(residual, dtype=np.float64)
    values = np.asarray(variable, dtype=np.float64)
    edges = np.asarray(bins, dtype=np.float64)
    if residuals.ndim != 1 or residuals.shape != values.shape:
        raise UsageError(
            f"residual and variable have shapes {residuals.shape} and {values.shape}",
            fix="Pass one value of each for every event.",
        )
    if edges.ndim != 1 or len(edges) < 2 or not (np.diff(edges) > 0).all():
        raise UsageError("the bin edges must ascend", fix="Pass at least two edges.")
    index = np.searchsorted(edges, values, side="right") - 1
    index[values == edges[-1]] = len(edges) - 2
    index[~np.isfinite(values)] = -1
    members = [index == number for number in range(len(edges) - 1)]
    centre = [
        float(values[mask].mean()) if mask.any() else float(edges[i : i + 2].mean())
        for i, mask in enumerate(members)
    ]
    points = tuple(summarise(residuals[mask], replicas=replicas, seed=seed) for mask in members)
    inside = sum(int(mask.sum()) for mask in members)
    return Profile(edges, np.array(centre), points, outside=len(values) - inside)


def _estimates(ordered: FloatArray) -> FloatArray:
    low, high = interval_of_sorted(ordered, ONE_SIGMA)
    return np.array([median_of_sorted(ordered), (high - low) / 2, core_of_sorted(ordered).sigma])


def _bootstrap(
    ordered: FloatArray, estimate: Callable[[FloatArray], FloatArray], replicas: int, seed: int
) -> FloatArray:
    if replicas < 2:
        return np.full(3, math.nan)
    random = np.random.default_rng(seed)
    n, size = len(ordered), min(len(ordered), BOOTSTRAP_EVENTS)
    samples = np.stack(
        [estimate(ordered[np.sort(random.integers(n, size=size))]) for _ in range(replicas)]
    )
    return np.asarray(samples.std(axis=0, ddof=1) * math.sqrt(size / n), dtype=np.float64)


def _json_number(value: float) -> float | int | None:
    return value if math.isfinite(value) else None
