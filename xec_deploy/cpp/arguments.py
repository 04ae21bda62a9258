"""What the C++ functions are given: arrays, flags, threads and geometry, or a sentence why not."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from xec_deploy import _cpp
from xec_deploy.detector import N_SENSORS, Geometry
from xec_deploy.errors import UsageError

__all__ = [
    "FloatArray",
    "cpp_geometry",
    "flags",
    "native_events",
    "raw_events",
    "starts",
    "thread_count",
    "vectors",
]

FloatArray = NDArray[np.float64]


def vectors(values: ArrayLike, name: str) -> FloatArray:
    """Return vectors (..., 3) as contiguous float64, or raise UsageError."""
    array = np.asarray(values)
    if array.dtype.kind not in "fiu":
        raise UsageError(f"{name} has type {array.dtype}, expected numbers")
    if array.ndim == 0 or array.shape[-1] != 3:
        raise UsageError(f"{name} has shape {array.shape}, the last axis must have 3 components")
    return np.ascontiguousarray(array, dtype=np.float64)


def raw_events(values: ArrayLike, name: str) -> NDArray[np.floating]:
    """Return raw channel values as (n, 4760) floats, or raise UsageError."""
    array = np.asarray(values)
    if array.dtype.kind != "f" or array.dtype.itemsize not in (4, 8):
        raise UsageError(
            f"{name} has type {array.dtype}, expected float32 or float64",
            fix=f"Convert it with {name}.astype('float32').",
        )
    if array.ndim not in (1, 2) or array.shape[-1] != N_SENSORS:
        raise UsageError(f"{name} has shape {array.shape}, expected (n, {N_SENSORS})")
    return array.reshape(-1, N_SENSORS)


def native_events(values: ArrayLike, name: str) -> NDArray[np.floating]:
    """Return :func:`raw_events` contiguous and in the byte order of this machine."""
    array = np.ascontiguousarray(raw_events(values, name))
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def starts(values: ArrayLike, events: int) -> FloatArray:
    """Return starting points (events, 3), or raise UsageError."""
    array = vectors(values, "start")
    if array.shape not in ((events, 3), (3,)) or (array.ndim == 1 and events != 1):
        raise UsageError(f"start has shape {array.shape}, expected {(events, 3)}")
    return array.reshape(events, 3)


def flags(values: ArrayLike, events: int) -> NDArray[np.bool_]:
    """Return dead flags as contiguous (events or 1, 4760) bool, or raise UsageError."""
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


def thread_count(threads: int) -> int:
    """Return a number of threads that makes sense, or raise UsageError."""
    # Threads are created as asked; a thousand is a slip, not a machine.
    if not 1 <= threads <= 1024:
        raise UsageError(f"threads is {threads}, expected 1 to 1024")
    return int(threads)


@lru_cache(maxsize=8)
def cpp_geometry(geometry: Geometry) -> _cpp.Geometry:
    """Return the C++ counterpart of a geometry, made once."""
    try:
        return _cpp.Geometry(
            np.ascontiguousarray(geometry.position, dtype=np.float64),
            np.ascontiguousarray(geometry.normal, dtype=np.float64),
            np.ascontiguousarray(geometry.face, dtype=np.int8),
        )
    except ValueError as error:
        raise UsageError(str(error), where=f"geometry {geometry.source}") from error
