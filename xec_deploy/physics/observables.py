"""What the simple estimates look at: sums by face, a windowed centroid, a mean arrival time.

Dead and invalid channels are left out everywhere.  In the sums and the image they are replaced by
the mean of their live neighbours (8 around an MPPC, 11 cm around a PMT), because a sensor near a
shallow conversion holds a tenth of the light and no global scale can make up for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from xec_deploy.detector import constants as c
from xec_deploy.detector.coordinates import uvw_to_xyz
from xec_deploy.detector.geometry import Geometry, design_geometry
from xec_deploy.detector.layout import CENTRE_TABLE
from xec_deploy.detector.neighbours import same_face_neighbours
from xec_deploy.errors import UsageError

__all__ = [
    "ChargeObservables",
    "cell_area",
    "charge_observables",
    "live_photons",
    "mean_emission_time",
    "sensitive_area",
]

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

NEIGHBOUR_DISTANCE_MPPC: Final = 2.3
NEIGHBOUR_DISTANCE_PMT: Final = 11.0
WINDOW: Final = 3.5
"""Gaussian window of the centroid [cm]; wide enough for shallow and for deep showers."""
ITERATIONS: Final = 8
TIMING_PHOTOELECTRONS: Final = 5.0
"""Channels with less charge carry no useful time."""
TIMING_SIGMA: Final = (10e-9, 0.1e-9)
"""Time resolution of a channel [s]: per root photoelectron, and its floor."""
OUTLIER: Final = 4.0


@dataclass(frozen=True, eq=False)
class ChargeObservables:
    """Light distribution of n events, float64, NaN where an event has no light.

    Attributes
    ----------
    face_sum
        (n, 6) photons through each face: npho times cell area over sensitive area.
    centroid
        (n, 2) u and v of the windowed centroid on the inner face [cm].
    share
        (n,) logarithm of the windowed share of all photons.
    width
        (n,) logarithm of the windowed variance of the light [log cm2].
    """

    face_sum: FloatArray
    centroid: FloatArray
    share: FloatArray
    width: FloatArray


@dataclass(frozen=True, eq=False)
class _Sensors:
    """Constant arrays of a geometry: cell over sensitive area (4760,), mean of neighbours."""

    geometry: Geometry
    weight: FloatArray
    neighbours: sparse.csr_matrix

    @cached_property
    def efficiency(self) -> FloatArray:
        return np.where(self.geometry.is_mppc, c.MPPC_PDE, c.PMT_QE)

    @cached_property
    def inner_axes(self) -> tuple[FloatArray, FloatArray]:
        """U of the columns and v of the rows of the inner face, means over a survey."""
        grid = self.geometry.uvw[: c.N_MPPC].reshape(c.INNER_ROWS, c.INNER_COLUMNS, 3)
        return grid[..., 0].mean(axis=0), grid[..., 1].mean(axis=1)


def live_photons(npho: ArrayLike, dead: ArrayLike) -> tuple[FloatArray, BoolArray]:
    """Return photons with 0 for unusable channels, and which channels are usable.

    Parameters
    ----------
    npho
        (n, 4760) raw photons; values above 9e9 or not finite are invalid.
    dead
        (n, 4760) bool, or (4760,).

    Returns
    -------
    photons, live
        (n, 4760) float64 and bool.
    """
    photons = np.array(npho, dtype=np.float64, ndmin=2)
    if photons.ndim != 2 or photons.shape[1] != c.N_SENSORS:
        raise UsageError(
            f"npho has shape {photons.shape}, expected (events, {c.N_SENSORS})",
            fix="Pass one row of photons for every event.",
        )
    live = (np.abs(photons) < c.INVALID_ABOVE) & ~np.asarray(dead, dtype=np.bool_)
    photons[~live] = 0.0
    return photons, np.asarray(live)


def charge_observables(
    npho: ArrayLike, dead: ArrayLike, *, geometry: Geometry | None = None
) -> ChargeObservables:
    """Return the light distribution of events.

    The centroid is the mean position under a Gaussian window that is moved to the centroid until
    it rests there, starting from the brightest 3 x 3 sensors: without a hard edge it has no
    preference for sensor centres (adaptive moments, G. M. Bernstein and M. Jarvis, Astron. J. 123
    (2002) 583, with a round window of fixed size).

    Parameters
    ----------
    npho, dead
        (n, 4760), see :func:`live_photons`.
    geometry
        Sensor positions, the design by default.
    """
    sensors = _sensors(geometry or design_geometry())
    photons, live = live_photons(npho, dead)
    photons = _fill(photons, live, sensors)
    weighted = photons * sensors.weight
    face_sum = np.stack(
        [weighted[:, sensors.geometry.face == face].sum(axis=1) for face in range(len(c.FACES))],
        axis=1,
    )
    image = photons[:, : c.N_MPPC].reshape(-1, c.INNER_ROWS, c.INNER_COLUMNS)
    u_axis, v_axis = sensors.inner_axes
    u, v, charge, variance = _windowed_moments(image, u_axis, v_axis)
    total = face_sum.sum(axis=1)
    lit = (charge > 0) & (total > 0) & (variance > 0)
    one = np.where(lit, 1.0, np.nan)
    window_photons = charge * sensors.weight[0]
    return ChargeObservables(
        face_sum=face_sum * one[:, None],
        centroid=np.stack([u, v], axis=1) * one[:, None],
        share=np.log(np.where(lit, window_photons, 1) / np.where(lit, total, 1)) * one,
        width=np.log(np.where(lit, variance, 1.0)) * one,
    )


def mean_emission_time(
    npho: ArrayLike,
    time: ArrayLike,
    dead: ArrayLike,
    uvw: ArrayLike,
    *,
    geometry: Geometry | None = None,
) -> FloatArray:
    """Return the mean of t_i - r_i n / c over good channels, (n,) [s].

    Channels count with the inverse square of their resolution, about their photoelectrons;
    those four sigma or more from the mean are dropped, twice.  NaN without a good channel or
    position.

    Parameters
    ----------
    npho, time, dead
        (n, 4760): photons, seconds, bool.
    uvw
        (n, 3) where the light comes from [cm].
    geometry
        Sensor positions, the design by default.
    """
    sensors = _sensors(geometry or design_geometry())
    photons, live = live_photons(npho, dead)
    charge = photons * sensors.efficiency
    seconds = np.array(time, dtype=np.float64, ndmin=2)
    source = uvw_to_xyz(np.atleast_2d(uvw))
    good = live & (np.abs(seconds) < c.INVALID_ABOVE) & (charge > TIMING_PHOTOELECTRONS)
    good &= np.isfinite(source.sum(axis=1))[:, None]
    position = sensors.geometry.position
    square = (source**2).sum(1)[:, None] + (position**2).sum(1) - 2 * source @ position.T
    distance = np.sqrt(np.where(good, square, 0.0).clip(0.0))
    emission = np.where(good, seconds, 0.0) - distance * (c.REFRACTIVE_INDEX / c.SPEED_OF_LIGHT)
    variance = TIMING_SIGMA[0] ** 2 / np.where(good, charge, 1.0) + TIMING_SIGMA[1] ** 2
    weight = np.where(good, 1 / variance, 0.0)
    mean = _weighted_mean(emission, weight)
    for _ in range(2):
        near = np.abs(emission - mean[:, None]) < OUTLIER * np.sqrt(variance)
        mean = _weighted_mean(emission, weight * near)
    return mean


def _weighted_mean(values: FloatArray, weight: FloatArray) -> FloatArray:
    total = weight.sum(axis=1)
    some: BoolArray = total > 0
    mean = (values * weight).sum(axis=1) / np.where(some, total, 1.0)
    return np.where(some, mean, np.nan)


def _windowed_moments(
    image: FloatArray, u_axis: FloatArray, v_axis: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Return u, v, charge and variance under the Gaussian window, each (n,)."""
    smooth = np.zeros_like(image)
    padded = np.pad(image, ((0, 0), (1, 1), (1, 1)))
    for row in range(3):
        for column in range(3):
            smooth += padded[:, row : row + image.shape[1], column : column + image.shape[2]]
    brightest = smooth.reshape(len(image), -1).argmax(axis=1)
    row_index, column_index = np.divmod(brightest, image.shape[2])
    u, v = u_axis[column_index], v_axis[row_index]
    charge = variance = np.zeros(len(image))
    for _ in range(ITERATIONS):
        window_u = np.exp(-0.5 * ((u_axis - u[:, None]) / WINDOW) ** 2)
        window_v = np.exp(-0.5 * ((v_axis - v[:, None]) / WINDOW) ** 2)
        # (n, rows, columns) @ (n, columns, 3): moments of order 0, 1, 2 along each row at once
        powers = np.stack([np.ones_like(window_u), u_axis - u[:, None], (u_axis - u[:, None]) ** 2])
        rows = np.moveaxis(image @ np.moveaxis(powers * window_u, 0, -1), -1, 0) * window_v
        step_v = v_axis - v[:, None]
        charge = rows[0].sum(axis=1)
        safe = np.where(charge > 0, charge, np.inf)
        shift_u = rows[1].sum(axis=1) / safe
        shift_v = (rows[0] * step_v).sum(axis=1) / safe
        second = (rows[2].sum(axis=1) + (rows[0] * step_v**2).sum(axis=1)) / safe
        variance = second - shift_u**2 - shift_v**2
        # noise without light may pull the window away, which must not overflow
        u = np.clip(u + shift_u, u_axis.min(), u_axis.max())
        v = np.clip(v + shift_v, v_axis.min(), v_axis.max())
    return u, v, charge, variance


def _fill(photons: FloatArray, live: BoolArray, sensors: _Sensors) -> FloatArray:
    """Replace channels that are not live by the mean of their live neighbours."""
    event, channel = np.nonzero(~live)
    if len(event) == 0:
        return photons
    # Only the columns that are dead somewhere: a few per cent of the work of a full product.
    wanted, position = np.unique(channel, return_inverse=True)
    matrix = sensors.neighbours[wanted]
    total = (matrix @ photons.T)[position, event]
    count = (matrix @ live.T.astype(np.float64))[position, event]
    photons[event, channel] = total / np.maximum(count, 1.0)
    return photons


@lru_cache(maxsize=4)
def _sensors(geometry: Geometry) -> _Sensors:
    is_mppc = geometry.is_mppc
    parts = []
    for distance, chosen in (
        (NEIGHBOUR_DISTANCE_MPPC, is_mppc),
        (NEIGHBOUR_DISTANCE_PMT, ~is_mppc),
    ):
        graph = same_face_neighbours(geometry, distance)
        matrix = sparse.csr_matrix(
            (np.ones(len(graph.index)), graph.index, graph.offset), shape=(c.N_SENSORS,) * 2
        )
        parts.append(sparse.diags(chosen.astype(np.float64)) @ matrix)
    return _Sensors(
        geometry, cell_area(geometry) / sensitive_area(geometry), (parts[0] + parts[1]).tocsr()
    )


def sensitive_area(geometry: Geometry) -> FloatArray:
    """Return the sensitive area of each sensor, (4760,) [cm2]."""
    chip = c.MPPC_CHIP_OUTER_EDGE - c.MPPC_CHIP_INNER_EDGE
    return np.where(geometry.is_mppc, 4 * chip**2, np.pi * c.PMT_RADIUS**2)


def cell_area(geometry: Geometry) -> FloatArray:
    """Return the area of its face that each sensor stands for, (4760,) [cm2], by the design."""
    face = geometry.face
    radius = np.hypot(geometry.position[:, 0], geometry.position[:, 1])
    strip = np.radians(5.23)
    area = np.empty(c.N_SENSORS)
    area[face == 0] = c.MPPC_PITCH_Z * np.radians(c.MPPC_PITCH_PHI_DEG) * c.R_EFF
    area[face == 1] = 10.356 * strip * c.R_OUTER
    area[CENTRE_TABLE.ravel()] *= 12 / CENTRE_TABLE.size  # 30 tubes in the place of twelve
    caps = (face == 2) | (face == 3)
    area[caps] = np.hypot(6.684, 2.3369) * strip * radius[caps]
    area[face >= 4] = 6.12 * 6.91
    return area
