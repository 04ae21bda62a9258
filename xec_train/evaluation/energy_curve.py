"""The energy resolution as a function of energy."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import nnls

from xec_deploy.errors import UsageError

__all__ = ["EnergyCurve", "fit_energy_curve"]

FloatArray = NDArray[np.float64]
MINIMUM_POINTS: Final = 4


@dataclass(frozen=True)
class EnergyCurve:
    """Fit of sigma/E = sqrt(a^2/E + b^2 + c^2/E^2), E in GeV.

    Attributes
    ----------
    a, a_error
        Stochastic term [% sqrt(GeV)].
    b, b_error
        Constant term [%].
    c, c_error
        Noise term [% GeV].
    chi2, ndf
        Of the points about the curve.
    """

    a: float
    a_error: float
    b: float
    b_error: float
    c: float
    c_error: float
    chi2: float
    ndf: int

    def __call__(self, energy: ArrayLike) -> FloatArray:
        """Return sigma/E [%] at energies [GeV]."""
        terms = _terms(np.asarray(energy, dtype=np.float64))
        return np.asarray(np.sqrt(terms @ np.square([self.a, self.b, self.c])), dtype=np.float64)


def fit_energy_curve(
    energy: ArrayLike,
    sigma: ArrayLike,
    error: ArrayLike,
    *,
    replicas: int = 400,
    seed: int = 20_240_190,
) -> EnergyCurve | None:
    """Fit the curve to measured resolutions.

    The square of the curve is linear in a^2, b^2 and c^2, so that least squares under
    a^2, b^2, c^2 >= 0 has one minimum and finds it.  Errors are the spread of fits to points
    redrawn within theirs: over a short range of energies the three terms are strongly correlated
    and one of them is often at zero, where a covariance means nothing.

    Parameters
    ----------
    energy, sigma, error
        (m,) energies [GeV], sigma/E [%] and its error [%]; points that are not finite, or whose
        error is not positive, are left out.
    replicas, seed
        Redrawn sets of points and their seed.

    Returns
    -------
    EnergyCurve or None
        None with fewer than four points.

    Raises
    ------
    UsageError
        If the shapes differ.
    """
    points = [np.asarray(part, dtype=np.float64) for part in (energy, sigma, error)]
    if points[0].ndim != 1 or len({part.shape for part in points}) > 1:
        raise UsageError(
            f"energy, sigma and error have shapes {', '.join(str(p.shape) for p in points)}",
            fix="Pass one value of each for every point.",
        )
    usable = np.isfinite(points).all(axis=0) & (points[0] > 0) & (points[1] > 0) & (points[2] > 0)
    if np.count_nonzero(usable) < MINIMUM_POINTS:
        return None
    e, y, dy = (part[usable] for part in points)
    best = _fit(e, y, dy)
    random = np.random.default_rng(seed)
    redrawn = np.sqrt([_fit(e, random.normal(y, dy).clip(0), dy) for _ in range(replicas)])
    a_error, b_error, c_error = redrawn.std(axis=0, ddof=1)
    a, b, c = np.sqrt(best)
    deviation = (np.sqrt(_terms(e) @ best) - y) / dy
    return EnergyCurve(
        a=float(a),
        a_error=float(a_error),
        b=float(b),
        b_error=float(b_error),
        c=float(c),
        c_error=float(c_error),
        chi2=math.fsum(deviation**2),
        ndf=len(e) - 3,
    )


def _fit(energy: FloatArray, sigma: FloatArray, error: FloatArray) -> FloatArray:
    """Least squares of the squares, whose error is 2 sigma times that of sigma."""
    weight = 1 / (2 * sigma.clip(1e-12) * error)
    terms = _terms(energy)
    scale = terms.max(axis=0)  # the columns differ by orders of magnitude
    solution, _ = nnls(terms / scale * weight[:, None], sigma**2 * weight)
    return np.asarray(solution / scale, dtype=np.float64)


def _terms(energy: FloatArray) -> FloatArray:
    return np.stack([1 / energy, np.ones_like(energy), 1 / energy**2], axis=-1)
