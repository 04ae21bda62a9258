"""Detector coordinates: xyz, the curvilinear uvw, and photon directions.

The calorimeter sits at negative x; ``phi = atan2(y, -x)``.  ``u`` runs along
the beam, ``v`` along the inner surface, ``w`` is the depth behind it::

    x = -(w + R_eff) cos(v / R_eff)
    y =  (w + R_eff) sin(v / R_eff)
    z =  u
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from xec_deploy.detector.constants import R_EFF
from xec_deploy.errors import UsageError

__all__ = ["angles_to_direction", "direction_to_angles", "uvw_to_xyz", "xyz_to_uvw"]

FloatArray = NDArray[np.float64]


def _vectors(values: ArrayLike, name: str, components: int = 3) -> FloatArray:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim == 0 or array.shape[-1] != components:
        raise UsageError(
            f"{name} has shape {array.shape}, the last axis must have {components} components",
            fix="Pass one vector or an array of them, (..., 3) for positions.",
        )
    return array


def uvw_to_xyz(uvw: ArrayLike) -> FloatArray:
    """Convert curvilinear to Cartesian coordinates.

    Parameters
    ----------
    uvw
        Positions (..., 3) [cm].

    Returns
    -------
    xyz
        Positions (..., 3) float64 [cm].
    """
    u, v, w = np.moveaxis(_vectors(uvw, "uvw"), -1, 0)
    radius, phi = w + R_EFF, v / R_EFF
    return np.stack([-radius * np.cos(phi), radius * np.sin(phi), u], axis=-1)


def xyz_to_uvw(xyz: ArrayLike) -> FloatArray:
    """Convert Cartesian to curvilinear coordinates, the inverse of :func:`uvw_to_xyz`.

    ``v`` lies in (-pi R_eff, pi R_eff], the cut being on the positive x axis, outside the
    detector.
    """
    x, y, z = np.moveaxis(_vectors(xyz, "xyz"), -1, 0)
    return np.stack([z, R_EFF * np.arctan2(y, -x), np.hypot(x, y) - R_EFF], axis=-1)


def direction_to_angles(direction: ArrayLike) -> FloatArray:
    """Convert direction vectors (..., 3) to (theta, phi) (..., 2) [deg].

    ``theta`` is the angle from +z, ``phi = atan2(y, -x)``; vectors need not be normalised.
    """
    x, y, z = np.moveaxis(_vectors(direction, "direction"), -1, 0)
    radians = np.stack([np.arctan2(np.hypot(x, y), z), np.arctan2(y, -x)], axis=-1)
    return np.asarray(np.degrees(radians), dtype=np.float64)


def angles_to_direction(angles: ArrayLike) -> FloatArray:
    """Convert (theta, phi) (..., 2) [deg] to unit vectors (..., 3)."""
    theta, phi = np.moveaxis(np.radians(_vectors(angles, "angles", 2)), -1, 0)
    sin_theta = np.sin(theta)
    return np.stack([-sin_theta * np.cos(phi), sin_theta * np.sin(phi), np.cos(theta)], axis=-1)
