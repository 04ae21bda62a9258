"""Memory of blocks that have been used, for the blocks to come.

Blocks of some megabytes that are allocated and freed in turn by several threads leave gaps in the
heap of the C library, which then takes more memory from the system than is in use, a bit more as
time goes by.  Memory that is handed round does not, and spares the system clearing its pages.
"""

from __future__ import annotations

import threading
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["BLOCK_BYTES", "BlockMemory"]

BLOCK_BYTES: Final = 4 * 2**20
"""Decompressed bytes of a block: two of each of four branches stay within 32 MiB."""
SMALL_BYTES: Final = 64 * 2**10
"""What is smaller is allocated: the heap finds room for it."""
LARGE_BYTES: Final = 4 * BLOCK_BYTES
"""What is larger (a file with huge baskets) is not kept for the next file."""
MOST_KEPT: Final = 12


class BlockMemory:
    """Lends memory and takes it back; safe between threads."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._free: list[NDArray[np.uint8]] = []
        self._lent: dict[int, NDArray[np.uint8]] = {}

    def take(self, size: int) -> NDArray[np.uint8]:
        """Return (size,) bytes of any content, to be given back when they are not needed."""
        if size < SMALL_BYTES:
            return np.empty(size, np.uint8)
        with self._mutex:
            place = min(
                (place for place, memory in enumerate(self._free) if len(memory) >= size),
                key=lambda place: len(self._free[place]),
                default=None,
            )
            if place is None:
                memory = np.empty(max(size, BLOCK_BYTES), np.uint8)
            else:
                memory = self._free.pop(place)
            self._lent[id(memory)] = memory
        return memory[:size]

    def give(self, array: NDArray[Any]) -> None:
        """Take back the memory behind an array; one that was not lent here is left alone.

        NumPy names the owner of the memory as the base of any view of it.
        """
        with self._mutex:
            memory = self._lent.pop(id(array.base), None)
            if memory is None or len(memory) > LARGE_BYTES or len(self._free) >= MOST_KEPT:
                return
            self._free.append(memory)
