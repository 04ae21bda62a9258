"""Baskets of plain arrays read and decompressed straight into one array.

A branch such as ``npho[4760]/F`` in ROOT's default settings has a basket for each event, and a
general reader spends more on looking after baskets than on decompressing them.  Here a basket is
one read at a known place, its header skipped, its blocks decompressed where the values belong.
Formats are those of ROOT's TKey, TBasket and compressed blocks (R__zip), described at
https://root.cern/doc/master/classTKey.html and in the source of ``RZip.cxx``.
"""

from __future__ import annotations

import lzma
import os
import struct
import zlib
from typing import Any, Final

import cramjam
import numpy as np
import xxhash
from numpy.typing import NDArray

from xec_deploy.events.blocks import BlockMemory

__all__ = ["BasketReader"]

BLOCK_HEAD: Final = struct.Struct("<2sx6B")
"""Magic, method, packed and plain size with three bytes each, lowest first."""
LZ4_CHECKSUM: Final = 8
KEY_HEAD: Final = struct.Struct(">ihiIh")
"""Size, version, size of the object, date, size of the key."""
KEY_BYTES: Final = KEY_HEAD.size


class BasketReader:
    """Reads entries of a branch of numbers, or of arrays of one size, from a local file.

    Parameters
    ----------
    descriptor
        The open file.
    dtype
        Element type as stored, big endian.
    width
        Elements of an entry.
    edges
        (baskets + 1,) entry numbers.
    places, sizes
        (baskets,) positions and sizes of the baskets in the file, key included.
    """

    def __init__(
        self,
        descriptor: int,
        dtype: np.dtype[Any],
        width: int,
        edges: NDArray[np.int64],
        places: NDArray[np.int64],
        sizes: NDArray[np.int64],
    ) -> None:
        self._dtype, self._width = dtype, width
        self._edges, self._places, self._sizes = edges, places, sizes
        self._descriptor = descriptor

    def read(self, first: int, last: int, blocks: BlockMemory) -> NDArray[Any]:
        """Return entries ``first`` to ``last``, (last - first, width) as stored.

        The array lies in memory of ``blocks``.

        Raises
        ------
        Exception
            Of any kind, if the bytes are not what they should be.
        """
        start = int(np.searchsorted(self._edges, first, side="right")) - 1
        stop = int(np.searchsorted(self._edges, last, side="left"))
        begin, end = int(self._edges[start]), int(self._edges[stop])
        row_bytes = self._width * self._dtype.itemsize
        bounds = ((self._edges[start : stop + 1] - begin) * row_bytes).tolist()
        places, sizes = self._places[start:stop].tolist(), self._sizes[start:stop].tolist()
        flat = blocks.take((end - begin) * row_bytes)
        packed = blocks.take(max(sizes))
        try:
            for index, (place, size) in enumerate(zip(places, sizes, strict=True)):
                count = os.preadv(self._descriptor, [packed[:size].data], place)
                out = flat[bounds[index] : bounds[index + 1]].data
                _unpack(packed[:count].data, size, out)
        except BaseException:
            blocks.give(flat)
            raise
        finally:
            blocks.give(packed)
        values = flat.view(self._dtype).reshape(-1, self._width)
        return values[first - begin : last - begin]


def _unpack(stored: memoryview, expected: int, out: memoryview) -> None:
    """Write the values of a basket to memory of exactly their size."""
    total, _, size, _, key = KEY_HEAD.unpack_from(stored)
    if not total == len(stored) == expected or size < len(out) or not KEY_BYTES <= key <= total:
        raise ValueError(f"a basket is not where the file says: {len(stored)} bytes of {total}")
    content = stored[key:]
    if len(content) == size:
        out[:] = content[: len(out)]
    elif size == len(out):
        _decompress(content, out)
    else:
        # Beyond the values lies a table of places that arrays of one size do not need.
        whole = memoryview(bytearray(size))
        _decompress(content, whole)
        out[:] = whole[: len(out)]


def _decompress(content: memoryview, out: memoryview) -> None:
    """Decompress all blocks of a basket to memory of exactly their size."""
    position = done = 0
    while done < len(out):
        magic, low, middle, high, *plain = BLOCK_HEAD.unpack_from(content, position)
        packed = low | middle << 8 | high << 16
        size = plain[0] | plain[1] << 8 | plain[2] << 16
        position += BLOCK_HEAD.size
        block = content[position : position + packed]
        if len(block) != packed or not 0 < size <= len(out) - done:
            raise ValueError("a compressed block is longer than its basket")
        _decompress_block(magic, block, out[done : done + size])
        position += packed
        done += size


def _decompress_block(magic: bytes, block: memoryview, out: memoryview) -> None:
    if magic == b"L4":
        (expected,) = struct.unpack_from(">Q", block)
        block = block[LZ4_CHECKSUM:]
        found = xxhash.xxh64_intdigest(block)
        if found != expected:
            raise ValueError(f"computed checksum {found} didn't match expected {expected}")
        count = cramjam.lz4.decompress_block_into(block, out, output_len=len(out))
    elif magic == b"ZS":
        count = cramjam.zstd.decompress_into(block, out)
    elif magic in {b"ZL", b"XZ"}:
        plain = (
            zlib.decompress(block, bufsize=len(out)) if magic == b"ZL" else lzma.decompress(block)
        )
        count = len(plain)
        if count == len(out):
            out[:] = plain
    else:
        raise ValueError(f"unknown compression {magic!r}")
    if count != len(out):
        raise ValueError(f"a block has {count} bytes, {len(out)} expected")
