"""Solid angles and coordinates."""

from __future__ import annotations

from numpy.typing import ArrayLike

from xec_deploy import _cpp
from xec_deploy.cpp.arguments import FloatArray, cpp_geometry, thread_count, vectors
from xec_deploy.detector import GeometryLike, load_geometry
from xec_deploy.errors import UsageError

__all__ = ["solid_angle", "uvw_to_xyz", "xyz_to_uvw"]


def solid_angle(
    points: ArrayLike, geometry: GeometryLike | None = None, *, threads: int = 1
) -> FloatArray:
    """Compute the fraction of the full sphere that each sensor subtends.

    An MPPC is the sum of its four chips, each by the exact formula for a rectangle; a PMT is a
    disc of radius 2.25 cm (F. Paxton, Rev. Sci. Instrum. 30 (1959) 254).  A sensor that faces
    away, or whose plane holds the point, counts zero; shadows are not considered.

    Parameters
    ----------
    points
        Positions xyz [cm], (n, 3) or (3,) for one point.
    geometry
        A geometry, the path of a sensor table, or None for the design.  A table is read on every
        call: for many calls, load it once.
    threads
        Number of threads.

    Returns
    -------
    fraction
        (n, 4760) float64.  A row is NaN where the point has a coordinate that is not finite or
        exceeds 1e6 cm, which is how files mark a position that is not known.

    Raises
    ------
    UsageError
        If the shape or type of ``points`` or the number of threads is wrong.
    InputError
        If the sensor table cannot be used.
    """
    array = vectors(points, "points")
    if array.ndim > 2:
        raise UsageError(f"points has shape {array.shape}, expected (n, 3) or (3,)")
    return _cpp.solid_angle(
        cpp_geometry(load_geometry(geometry)), array.reshape(-1, 3), thread_count(threads)
    )


def uvw_to_xyz(uvw: ArrayLike) -> FloatArray:
    """Convert curvilinear to Cartesian coordinates, both (..., 3) float64 [cm].

    As :func:`xec_deploy.detector.uvw_to_xyz`, to the rounding of sine and cosine.
    """
    array = vectors(uvw, "uvw")
    return _cpp.uvw_to_xyz(array.reshape(-1, 3)).reshape(array.shape)


def xyz_to_uvw(xyz: ArrayLike) -> FloatArray:
    """Convert Cartesian to curvilinear coordinates, both (..., 3) float64 [cm].

    As :func:`xec_deploy.detector.xyz_to_uvw`, to the rounding of the arctangent.
    """
    array = vectors(xyz, "xyz")
    return _cpp.xyz_to_uvw(array.reshape(-1, 3)).reshape(array.shape)
