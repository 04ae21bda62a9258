"""The GPU of this machine, asked for through the driver alone."""

from __future__ import annotations

import ctypes
from typing import Final

__all__ = ["gpu_capability", "load_driver"]

_DRIVER: Final = ("libcuda.so.1", "nvcuda.dll")
_CAPABILITY_MAJOR: Final = 75
_CAPABILITY_MINOR: Final = 76
"""Numbers of ``CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR`` and ``.._MINOR`` (cuda.h)."""


def gpu_capability(device: int = 0) -> str | None:
    """Return the compute capability of a GPU such as ``sm80``; None without a GPU or driver."""
    driver = load_driver()
    if driver is None or driver.cuInit(0) != 0:
        return None
    handle = ctypes.c_int()
    if driver.cuDeviceGet(ctypes.byref(handle), device) != 0:
        return None
    parts = []
    for attribute in (_CAPABILITY_MAJOR, _CAPABILITY_MINOR):
        value = ctypes.c_int()
        if driver.cuDeviceGetAttribute(ctypes.byref(value), attribute, handle) != 0:
            return None
        parts.append(str(value.value))
    return f"sm{''.join(parts)}"


def load_driver() -> ctypes.CDLL | None:
    """Return the driver's library; None where there is none."""
    for name in _DRIVER:
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    return None
