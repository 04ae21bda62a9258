"""The conventional position: two stages of least squares on the light of the inner face."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from xec_deploy import _cpp
from xec_deploy.cpp.arguments import (
    FloatArray,
    cpp_geometry,
    flags,
    native_events,
    starts,
    thread_count,
)
from xec_deploy.detector import Geometry, GeometryLike, load_geometry

__all__ = ["FitStatus", "PositionFit", "fit_position"]


class FitStatus(IntEnum):
    """How a fit ended; from ``TOO_FEW_SENSORS`` on there is no fitted point."""

    GOOD = 0
    """A minimum inside the limits."""
    AT_LIMIT = 1
    """u or v 5 cm, or w 5 cm or its lower limit of 0.1 cm, from the first stage."""
    NOT_CONVERGED = 2
    """The best point after the allowed steps."""
    TOO_FEW_SENSORS = 3
    """Fewer than 10 sensors with light: the first stage only."""
    NO_LIGHT = 4
    """No place to start from, or too little light in a projection."""


@dataclass(frozen=True, eq=False)
class PositionFit:
    """Fitted points of n events; NaN where a fit has not come.

    Attributes
    ----------
    uvw_stage1
        (n, 3) float64 [cm], from the projections of the light.
    uvw
        (n, 3) float64 [cm], from the solid angles of the sensors.
    scale
        (n,) float64, photons the point emits into the full sphere.
    chi2_ndf
        (n,) float64, the chi-square divided by ``n_sensors - 4``.
    n_sensors
        (n,) int32, the sensors in the second stage.
    covariance
        (n, 4, 4) float64 of (u, v, w, scale) [cm, photons].  The inverse of the Gauss-Newton
        matrix, with photoelectron statistics alone: shower fluctuations are not in it, and
        ``chi2_ndf`` tells how much they add.
    status
        (n,) int8, values of `FitStatus`.
    """

    uvw_stage1: FloatArray
    uvw: FloatArray
    scale: FloatArray
    chi2_ndf: FloatArray
    n_sensors: NDArray[np.int32]
    covariance: FloatArray
    status: NDArray[np.int8]

    def __len__(self) -> int:
        return len(self.status)

    @property
    def uvw_error(self) -> FloatArray:
        """Standard deviations (n, 3) [cm], the roots of the covariance's diagonal."""
        variances = np.diagonal(self.covariance, axis1=1, axis2=2)[:, :3]
        return np.sqrt(variances)


def fit_position(
    npho: ArrayLike,
    dead: ArrayLike | None = None,
    start: ArrayLike | None = None,
    geometry: GeometryLike | None = None,
    *,
    threads: int = 1,
) -> PositionFit:
    """Fit the point from which the light of the inner face comes.

    First the sums of npho over columns and rows are compared with the angle a sensor subtends from
    some depth; then every sensor within 10.5 pitches of that point with ``scale`` times its solid
    angle, the variance of npho being npho / 0.12.  Dead channels, and values that are not finite,
    not positive or above 1e9, take part in neither.  As the experiment's LocalFitBaseline.

    Parameters
    ----------
    npho
        (n, 4760) raw photons, float32 or float64; (4760,) for one event.
    dead
        (n, 4760) bool, (4760,) for all events alike, or None for no dead channels.
    start
        (n, 3) uvw [cm] to start from, (3,) for one event, of which w is not used; None for the
        brightest region of each event.
    geometry
        A geometry, the path of a sensor table, or None for the design.
    threads
        Number of threads; it never changes a bit of the result.

    Raises
    ------
    UsageError
        If a shape, a type or the number of threads is wrong.
    InputError
        If the sensor table cannot be used.
    """
    raw = native_events(npho, "npho")
    events = len(raw)
    return PositionFit(
        *_cpp.fit_positions(
            _fitter(load_geometry(geometry)),
            raw,
            None if dead is None else flags(dead, events),
            None if start is None else starts(start, events),
            thread_count(threads),
        )
    )


@lru_cache(maxsize=8)
def _fitter(geometry: Geometry) -> _cpp.PositionFitter:
    return _cpp.PositionFitter(cpp_geometry(geometry))
