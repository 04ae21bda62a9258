"""The C++ library on NumPy arrays: solid angles, normalisation and coordinates.

Arrays that are contiguous and of the stated type are used where they lie, others are copied
first.  The loops run without the interpreter lock, over ``threads`` threads; the number of
threads never changes a bit of the result.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from xec_deploy import _cpp
from xec_deploy.detector import N_SENSORS, Geometry, GeometryLike, load_geometry
from xec_deploy.errors import UsageError
from xec_deploy.normalisation import Normalisation

__all__ = ["HasNormalisation", "normalise", "solid_angle", "uvw_to_xyz", "xyz_to_uvw"]

FloatArray = NDArray[np.float64]


class HasNormalisation(Protocol):
    """A manifest: whatever carries a :class:`~xec_deploy.normalisation.Normalisation`."""

    @property
    def normalisation(self) -> Normalisation:
        """The normalisation of the bundle."""


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
    array = _vectors(points, "points")
    if array.ndim > 2:
        raise UsageError(f"points has shape {array.shape}, expected (n, 3) or (3,)")
    return _cpp.solid_angle(
        _geometry(load_geometry(geometry)), array.reshape(-1, 3), _thread_count(threads)
    )


def normalise(
    npho: ArrayLike,
    time: ArrayLike,
    dead: ArrayLike | None,
    manifest: Normalisation | HasNormalisation | Mapping[str, Any],
    *,
    threads: int = 1,
) -> NDArray[np.float32]:
    """Normalise raw events, bit for bit as :meth:`Normalisation.apply`.

    Parameters
    ----------
    npho, time
        (n, 4760) photons and seconds, float32 or float64; (4760,) for one event.
    dead
        (n, 4760) bool, (4760,) for all events alike, or None for no dead channels.
    manifest
        A normalisation, or a manifest that has one as ``normalisation``.
    threads
        Number of threads.

    Returns
    -------
    x
        (n, 4760, 2) float32, npho first; n is 1 for one event.  Computed in float64 and rounded
        once, also for float64 input.

    Raises
    ------
    UsageError
        If a shape, a type, the manifest or the number of threads is wrong.
    """
    raw_npho, raw_time = _events(npho, "npho"), _events(time, "time")
    if raw_npho.shape != raw_time.shape:
        raise UsageError(f"npho has shape {raw_npho.shape} but time has {raw_time.shape}")
    dtype = np.result_type(raw_npho, raw_time)
    return _cpp.normalise(
        _parameters(manifest),
        np.ascontiguousarray(raw_npho, dtype=dtype),
        np.ascontiguousarray(raw_time, dtype=dtype),
        None if dead is None else _flags(dead, len(raw_npho)),
        _thread_count(threads),
    )


def uvw_to_xyz(uvw: ArrayLike) -> FloatArray:
    """Convert curvilinear to Cartesian coordinates, both (..., 3) float64 [cm].

    As :func:`xec_deploy.detector.uvw_to_xyz`, to the rounding of sine and cosine.
    """
    array = _vectors(uvw, "uvw")
    return _cpp.uvw_to_xyz(array.reshape(-1, 3)).reshape(array.shape)


def xyz_to_uvw(xyz: ArrayLike) -> FloatArray:
    """Convert Cartesian to curvilinear coordinates, both (..., 3) float64 [cm].

    As :func:`xec_deploy.detector.xyz_to_uvw`, to the rounding of the arctangent.
    """
    array = _vectors(xyz, "xyz")
    return _cpp.xyz_to_uvw(array.reshape(-1, 3)).reshape(array.shape)


def _vectors(values: ArrayLike, name: str) -> FloatArray:
    array = np.asarray(values)
    if array.dtype.kind not in "fiu":
        raise UsageError(f"{name} has type {array.dtype}, expected numbers")
    if array.ndim == 0 or array.shape[-1] != 3:
        raise UsageError(f"{name} has shape {array.shape}, the last axis must have 3 components")
    return np.ascontiguousarray(array, dtype=np.float64)


def _events(values: ArrayLike, name: str) -> NDArray[np.floating]:
    array = np.asarray(values)
    if array.dtype.kind != "f" or array.dtype.itemsize not in (4, 8):
        raise UsageError(
            f"{name} has type {array.dtype}, expected float32 or float64",
            fix=f"Convert it with {name}.astype('float32').",
        )
    if array.ndim not in (1, 2) or array.shape[-1] != N_SENSORS:
        raise UsageError(f"{name} has shape {array.shape}, expected (n, {N_SENSORS})")
    return array.reshape(-1, N_SENSORS)


def _flags(values: ArrayLike, events: int) -> NDArray[np.bool_]:
    array = np.asarray(values)
    if array.dtype != np.bool_:
        raise UsageError(
            f"dead has type {array.dtype}, expected bool",
            fix="True marks a dead channel; a list of sensor ids is not a mask.",
        )
    if array.shape not in ((N_SENSORS,), (1, N_SENSORS), (events, N_SENSORS)):
        raise UsageError(
            f"dead has shape {array.shape}, expected {(events, N_SENSORS)} or {(N_SENSORS,)}"
        )
    return np.ascontiguousarray(array.reshape(-1, N_SENSORS))


def _thread_count(threads: int) -> int:
    # Threads are created as asked; a thousand is a slip, not a machine.
    if not 1 <= threads <= 1024:
        raise UsageError(f"threads is {threads}, expected 1 to 1024")
    return int(threads)


@lru_cache(maxsize=8)
def _geometry(geometry: Geometry) -> _cpp.Geometry:
    try:
        return _cpp.Geometry(
            np.ascontiguousarray(geometry.position, dtype=np.float64),
            np.ascontiguousarray(geometry.normal, dtype=np.float64),
            np.ascontiguousarray(geometry.face, dtype=np.int8),
        )
    except ValueError as error:
        raise UsageError(str(error), where=f"geometry {geometry.source}") from error


def _parameters(
    manifest: Normalisation | HasNormalisation | Mapping[str, Any],
) -> _cpp.Normalisation:
    found: object = manifest
    if isinstance(manifest, Mapping):
        found = manifest.get("normalisation")
    elif not isinstance(manifest, Normalisation):
        found = getattr(manifest, "normalisation", None)
    if not isinstance(found, Normalisation):
        raise UsageError(
            f"the manifest ({type(manifest).__name__}) has no normalisation",
            fix="Pass a Normalisation, or a manifest with one as 'normalisation'.",
        )
    return _cpp.Normalisation(**found.model_dump())
