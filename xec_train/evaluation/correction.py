"""Bias correction of fitted positions, as one would calibrate a fit for data.

The position fit finds the middle of the light, not the first interaction: it is deeper by the
length of the shower, pulled in u and v towards the end of the photon's path, and squeezed near the
edges.  Each coordinate is corrected by a polynomial in the fitted position and the logarithm of
the light, fitted by least squares on events whose position is known and that are not among those
corrected.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from xec_deploy.errors import InputError
from xec_deploy.physics.calibration import trimmed_least_squares

__all__ = ["PositionCorrection", "cross_corrected", "fit_correction"]

FloatArray = NDArray[np.float64]
MINIMUM_EVENTS: Final = 100
DEEPEST: Final = 20.0
"""Beyond this depth [cm] too few events constrain a polynomial."""


@dataclass(frozen=True)
class PositionCorrection:
    """Coefficients of the terms of u, v and w, and the number of events they were fitted on."""

    u: tuple[float, ...]
    v: tuple[float, ...]
    w: tuple[float, ...]
    n: int

    def __call__(self, uvw: ArrayLike, light: ArrayLike) -> FloatArray:
        """Correct positions (n, 3) [cm] of events with some light (n,), in any constant unit."""
        fitted = np.asarray(uvw, dtype=np.float64)
        columns = zip(_terms(fitted, light), (self.u, self.v, self.w), strict=True)
        return np.stack([terms @ np.array(values) for terms, values in columns], axis=1)


def fit_correction(uvw: ArrayLike, light: ArrayLike, truth: ArrayLike) -> PositionCorrection:
    """Fit a correction on events with fitted and true positions (n, 3), once without tails.

    Raises
    ------
    InputError
        If fewer than 100 events have both.
    """
    fitted, known = (np.asarray(part, dtype=np.float64) for part in (uvw, truth))
    lit = np.asarray(light, dtype=np.float64)
    usable = np.isfinite(fitted).all(axis=1) & np.isfinite(known).all(axis=1) & (lit > 0)
    n = int(np.count_nonzero(usable))
    if n < MINIMUM_EVENTS:
        raise InputError(
            f"{n} events with fitted and true position",
            where="correction of the position fit",
            fix=f"At least {MINIMUM_EVENTS} are needed; evaluate more events.",
        )
    terms = _terms(fitted[usable], lit[usable])
    u, v, w = (
        trimmed_least_squares(matrix, values)
        for matrix, values in zip(terms, known[usable].T, strict=True)
    )
    return PositionCorrection(u, v, w, n)


def cross_corrected(
    positions: ArrayLike,
    light: ArrayLike,
    truth: ArrayLike,
    usable: NDArray[np.bool_],
    targets: list[tuple[FloatArray, FloatArray]],
) -> list[FloatArray]:
    """Correct events of each half with the correction fitted on the other half.

    Halves are entries of even and of odd number.

    Parameters
    ----------
    positions, light, truth
        (n, 3), (n,), (n, 3): what the corrections are fitted on.
    usable
        (n,) events to fit on, such as those of the fiducial volume.
    targets
        Positions and light of the same n events to correct: those above, and those fitted
        with more dead channels.
    """
    fitted, lit, known = (np.asarray(part, dtype=np.float64) for part in (positions, light, truth))
    even = np.arange(len(fitted)) % 2 == 0
    results = [np.full_like(fitted, np.nan) for _ in targets]
    for half in (even, ~even):
        chosen = usable & ~half
        correction = fit_correction(fitted[chosen], lit[chosen], known[chosen])
        for result, (uvw, brightness) in zip(results, targets, strict=True):
            result[half] = correction(uvw[half], brightness[half])
    return results


def _terms(uvw: FloatArray, light: ArrayLike) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return the terms of u (n, 8), v (n, 8) and w (n, 10)."""
    lit = np.asarray(light, dtype=np.float64)
    brightness = np.where(lit > 0, np.log(np.where(lit > 0, lit, 1.0)), np.nan)
    depth = np.clip(uvw[:, 2], 0.0, DEEPEST)
    one = np.ones_like(depth)
    u, v = (
        np.stack(
            [one, x, x**3, x**5, x * depth, x * depth**2, x * brightness, x**3 * depth], axis=1
        )
        for x in (uvw[:, 0] / 70.0, uvw[:, 1] / 70.0)
    )
    edges = [(uvw[:, 0] / 24.0) ** 2, (uvw[:, 0] / 24.0) ** 4]
    powers = [one, uvw[:, 2], depth**2, depth**3, depth**4]
    lights = [brightness, brightness * depth, brightness * depth**2]
    return u, v, np.stack([*powers, *lights, *edges], axis=1)
