"""Arrays in memory that the driver has pinned, from which copies to a GPU are fastest."""

from __future__ import annotations

import ctypes
import weakref
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from xec_deploy.tensorrt.device import load_driver

__all__ = ["pinned_empty"]

_PORTABLE: Final = 1
"""``CU_MEMHOSTREGISTER_PORTABLE``: pinned for all contexts."""
_PAGE: Final = 4096


def pinned_empty(
    shape: tuple[int, ...], dtype: Any, device: int, driver: Any = None
) -> tuple[NDArray[Any], bool]:
    """Return an array and whether its memory could be pinned.

    Memory of NumPy's own is registered with the CUDA driver, so that no library is needed
    (``cuMemHostRegister``); it is unregistered when the array goes.

    Parameters
    ----------
    shape, dtype
        Of the array.
    device
        Number of a GPU, whose primary context must exist for as long as the array.
    driver
        The driver's library; None to load it.
    """
    kind = np.dtype(dtype)
    size = max(int(np.prod(shape)) * kind.itemsize, 1)
    # Whole pages, that share nothing with other arrays.
    length = -(-size // _PAGE) * _PAGE
    raw = np.empty(length + _PAGE, np.uint8)
    start = -raw.ctypes.data % _PAGE
    pages = raw[start : start + length]
    array = pages[:size].view(kind)[: int(np.prod(shape))].reshape(shape)
    library = driver if driver is not None else load_driver()
    if library is None or not _register(library, pages.ctypes.data, length, device):
        return array, False
    # The finaliser is of the memory's owner, which all views keep alive.
    weakref.finalize(raw, library.cuMemHostUnregister, ctypes.c_void_p(pages.ctypes.data))
    return array, True


def _register(library: Any, address: int, length: int, device: int) -> bool:
    handle, context = ctypes.c_int(), ctypes.c_void_p()
    if library.cuInit(0) != 0 or library.cuDeviceGet(ctypes.byref(handle), device) != 0:
        return False
    # Kept for the life of the process, as the libraries do that work in it.
    if library.cuDevicePrimaryCtxRetain(ctypes.byref(context), handle) != 0:
        return False
    if library.cuCtxPushCurrent_v2(context) != 0:
        return False
    try:
        code = library.cuMemHostRegister_v2(
            ctypes.c_void_p(address), ctypes.c_size_t(length), ctypes.c_uint(_PORTABLE)
        )
    finally:
        library.cuCtxPopCurrent_v2(ctypes.byref(context))
    return bool(code == 0)
