"""What the solid-angle filler knows of the detector: sensors, axes of the inner face, depths.

Solid angles are in units of the full sphere.  An MPPC near the light is a square, whose solid
angle is a sum over its corners of atan(a b / (h r)) [1]_; farther away, and for PMTs, the
approximation of the simulation: a disc of equal area, exact on its axis to fourth order in size
over distance.

References
----------
.. [1] A. Khadjavi, Calculation of solid angle subtended by rectangular apertures, J. Opt. Soc. Am.
   58 (1968) 1417.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from xec_deploy.detector import constants as c
from xec_deploy.detector.coordinates import uvw_to_xyz
from xec_deploy.detector.geometry import design_geometry

__all__ = [
    "DEPTH_WINDOW",
    "EDGE",
    "FILLING",
    "ITERATIONS",
    "NEAR",
    "WINDOW",
    "Optics",
    "depth_scale",
    "optics",
    "solid_angles",
]

FloatArray = NDArray[np.float64]

EDGE: Final = c.MPPC_CHIP_OUTER_EDGE
FILLING: Final = (1.0 - c.MPPC_CHIP_INNER_EDGE / c.MPPC_CHIP_OUTER_EDGE) ** 2
"""Share of the square of an MPPC that its four chips fill."""
NEAR: Final = 8.0
"""Distance [cm] to which an MPPC is a square: the corners cancel in float32 as it grows, the disc
is good to 3e-5 there."""
WINDOW: Final = 3.5
"""Width of the Gaussian window [cm] that finds the light on the inner face."""
DEPTH_WINDOW: Final = 7.0
"""Width of the window [cm] whose second moment says how deep the light comes from."""
ITERATIONS: Final = 5
DEPTHS: Final = (0.3, 0.6, 1, 1.5, 2, 3, 4, 6, 8, 10, 13, 16, 20, 25, 30, 36, 42)


@dataclass(frozen=True, eq=False)
class Optics:
    """Constant arrays, float64.

    Attributes
    ----------
    origin
        (3,) subtracted from positions, so that what is left is small [cm].
    axes
        (3, 3, 4760): components along u, v and the normal of each sensor, by coordinate.
    offset
        (3, 4760) those of its position [cm].
    area
        (4760,) sensitive area over the full sphere [cm2].
    size
        (4760,) softening of the disc [cm2].
    u, v
        (44,), (93,) columns and rows of the inner face [cm].
    """

    origin: FloatArray
    axes: FloatArray
    offset: FloatArray
    area: FloatArray
    size: FloatArray
    u: FloatArray
    v: FloatArray


@lru_cache
def optics() -> Optics:
    """Return the constants of the design geometry."""
    geometry = design_geometry()
    normal = geometry.normal
    along_v = np.cross([0.0, 0.0, 1.0], normal)
    along_v /= np.linalg.norm(along_v, axis=1, keepdims=True)
    axes = np.stack([np.cross(along_v, normal), along_v, normal]).transpose(0, 2, 1)
    origin = np.array([-(c.R_EFF + 10.0), 0.0, 0.0])
    chip = c.MPPC_CHIP_OUTER_EDGE - c.MPPC_CHIP_INNER_EDGE
    area = np.where(geometry.is_mppc, 4 * chip**2, math.pi * c.PMT_RADIUS**2)
    grid = geometry.uvw[: c.N_MPPC].reshape(c.INNER_ROWS, c.INNER_COLUMNS, 3)
    return Optics(
        origin=origin,
        axes=axes,
        offset=np.einsum("kcs,sc->ks", axes, geometry.position - origin),
        area=area / (4 * math.pi),
        size=area / (2 * math.pi),
        u=grid[0, :, 0],
        v=grid[:, 0, 1],
    )


def solid_angles(uvw: FloatArray) -> FloatArray:
    """Return the solid angle of every sensor (n, 4760) from points (n, 3) [cm], of the sphere."""
    o = optics()
    place = uvw_to_xyz(uvw) - o.origin
    a, b, h = (place @ axis - offset for axis, offset in zip(o.axes, o.offset, strict=True))
    h = np.maximum(h, 0.0)
    square = a * a + b * b + h * h
    solid: FloatArray = o.area * h / ((square + o.size) * np.sqrt(square + o.size))
    inner = slice(None, c.N_MPPC)
    corners = np.zeros_like(a[:, inner])
    height = np.maximum(h[:, inner], 1e-3)
    for i in (-EDGE, EDGE):
        for j in (-EDGE, EDGE):
            x, y = i - a[:, inner], j - b[:, inner]
            r = np.sqrt(x * x + y * y + height * height)
            corners += math.copysign(1, i * j) * np.arctan(x * y / (height * r))
    near = (square[:, inner] < NEAR**2) & (h[:, inner] > 0)
    solid[:, inner] = np.where(near, corners * (FILLING / (4 * math.pi)), solid[:, inner])
    return solid


@lru_cache
def depth_scale() -> tuple[FloatArray, FloatArray]:
    """Return second moments under the wide window, in its square, and the depths [cm] they mean.

    Of the light of a point in the middle of the face: the depth at which the geometry makes the
    width that is seen.  Neither scattered light nor the length of a shower is in it, so it is
    deeper than a shower begins, by two to three centimetres.
    """
    from xec_deploy.inpaint.estimate import second_moment  # noqa: PLC0415 - which needs this module

    depths = np.array(DEPTHS)
    points = np.stack([np.zeros_like(depths), np.zeros_like(depths), depths], axis=1)
    image = solid_angles(points)[:, : c.N_MPPC].reshape(-1, c.INNER_ROWS, c.INNER_COLUMNS)
    image /= image.max(axis=(1, 2), keepdims=True)
    return second_moment(image, np.zeros((len(depths), 2))), depths
