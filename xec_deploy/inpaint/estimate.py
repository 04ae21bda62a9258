"""The fillers in NumPy and float64: what their graphs must give."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from xec_deploy.detector.constants import (
    INNER_COLUMNS,
    INNER_ROWS,
    INVALID_ABOVE,
    N_MPPC,
    N_SENSORS,
)
from xec_deploy.inpaint.neighbourhood import adjacent_sensors
from xec_deploy.inpaint.optics import (
    DEPTH_WINDOW,
    ITERATIONS,
    WINDOW,
    depth_scale,
    optics,
    solid_angles,
)

__all__ = ["fill_neighbours", "fill_solid_angle", "locate", "second_moment"]

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

TINY = 1e-6
"""Added to sums that may vanish, relative to the brightest sensor."""
GRAZING = 1e-6
"""Added to solid angles, of the sphere: where sensors hardly see the light, the mean is left."""


def fill_neighbours(npho: ArrayLike, dead: ArrayLike) -> tuple[FloatArray, BoolArray]:
    """Fill dead channels with the mean of their live neighbours.

    Parameters
    ----------
    npho, dead
        (n, 4760) photons and bool; channels above 9e9 or not finite are dead too.

    Returns
    -------
    npho_filled
        (n, 4760) photons, unchanged where live or without a live neighbour.
    dead_left
        (n, 4760) bool: channels still dead.
    """
    photons, usable, light, live = _split(npho, dead)
    count, mean = _around(light, live)
    return _result(photons, usable, count, mean)


def fill_solid_angle(npho: ArrayLike, dead: ArrayLike) -> tuple[FloatArray, BoolArray]:
    """Fill dead channels with the mean of their live neighbours times a ratio of solid angles.

    The ratio is that of the sensor's solid angle to the mean of its live neighbours', from where
    the light comes from, see :func:`locate`.

    Parameters and returns are those of :func:`fill_neighbours`.
    """
    photons, usable, light, live = _split(npho, dead)
    count, mean = _around(light, live)
    solid = solid_angles(locate(np.where(live, light, mean))) + GRAZING
    around = _neighbour_sum(solid * live)
    ratio = solid * count / np.maximum(around, GRAZING)
    return _result(photons, usable, count, mean * ratio)


def locate(light: FloatArray) -> FloatArray:
    """Return where the light comes from, uvw (n, 3) [cm].

    The centroid on the inner face under a Gaussian window that is moved to it, from the brightest
    place on; the depth at which a point of light would have the width that is seen.

    Parameters
    ----------
    light
        (n, 4760) photons, none missing.
    """
    o = optics()
    image = np.maximum(light[:, :N_MPPC], 0.0)
    image /= np.maximum(image.max(axis=1, keepdims=True), TINY)
    # Noise of one sensor is not the brightest place.
    smooth = image + _neighbour_sum(np.pad(image, ((0, 0), (0, N_SENSORS - N_MPPC))))[:, :N_MPPC]
    weight = smooth / np.maximum(smooth.max(axis=1, keepdims=True), TINY)
    weight = (((weight**2) ** 2) ** 2).reshape(-1, INNER_ROWS, INNER_COLUMNS)
    image = image.reshape(weight.shape)
    total = np.maximum(weight.sum(axis=(1, 2)), TINY)
    u = (weight.sum(axis=1) @ o.u) / total
    v = (weight.sum(axis=2) @ o.v) / total
    centre = np.stack([u, v], axis=1)
    for _ in range(ITERATIONS):
        charge, first, _ = _moments(image, centre, WINDOW)
        centre = centre + first / charge[:, None]
    moments, depths = depth_scale()
    w = np.interp(second_moment(image, centre), moments, depths)
    return np.column_stack([centre, w])


def second_moment(image: FloatArray, centre: FloatArray) -> FloatArray:
    """Return the variance (n,) of images (n, 93, 44) under the wide window, in its square.

    The image is relative to its brightest sensor, the window at ``centre`` (n, 2) [cm].
    """
    charge, first, second = _moments(image, centre, DEPTH_WINDOW)
    mean = first / charge[:, None]
    variance: FloatArray = second / charge - (mean * mean).sum(axis=1)
    return variance / DEPTH_WINDOW**2


def _moments(
    image: FloatArray, centre: FloatArray, window: float
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return charge (n,), first moments u, v (n, 2) and the sum of the second ones (n,)."""
    o = optics()
    du, dv = o.u - centre[:, :1], o.v - centre[:, 1:]
    in_u, in_v = (np.exp(d * d * (-0.5 / window**2)) for d in (du, dv))
    along_v = np.stack([in_v, in_v * dv, in_v * dv * dv], axis=1)
    along_u = np.stack([in_u, in_u * du, in_u * du * du], axis=2)
    raw = along_v @ image @ along_u
    charge = np.maximum(raw[:, 0, 0], TINY)
    return charge, np.stack([raw[:, 0, 1], raw[:, 1, 0]], axis=1), raw[:, 0, 2] + raw[:, 2, 0]


def _split(npho: ArrayLike, dead: ArrayLike) -> tuple[FloatArray, BoolArray, FloatArray, BoolArray]:
    photons = np.array(npho, dtype=np.float64, ndmin=2)
    usable = np.isfinite(photons) & (photons <= INVALID_ABOVE) & ~np.asarray(dead, dtype=bool)
    live = usable & (photons >= -INVALID_ABOVE)
    return photons, usable, np.where(live, photons, 0.0), live


def _neighbour_sum(values: FloatArray) -> FloatArray:
    padded = np.pad(values, ((0, 0), (0, 1)))
    total: FloatArray = padded[:, adjacent_sensors()].sum(axis=2)
    return total


def _around(light: FloatArray, live: BoolArray) -> tuple[FloatArray, FloatArray]:
    count = _neighbour_sum(live.astype(np.float64))
    return count, _neighbour_sum(light) / np.maximum(count, 1.0)


def _result(
    photons: FloatArray, usable: BoolArray, count: FloatArray, estimate: FloatArray
) -> tuple[FloatArray, BoolArray]:
    assert photons.shape[1] == N_SENSORS  # noqa: S101
    filled = ~usable & (count > 0)
    return np.where(filled, estimate, photons), ~usable & ~filled
