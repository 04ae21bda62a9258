"""Fields of an RNTuple as sources of blocks, read page by page.

A cluster may hold hundreds of MB, so the values of a wide field are read by pages (about 1 MiB)
and not by clusters.  Every page is verified against the checksum stored behind it, which uproot
does not do: flipped bits of an uncompressed page would pass for measurements.
"""

from __future__ import annotations

import math
import struct
from typing import Any

import awkward as ak
import numpy as np
import uproot
import xxhash
from numpy.typing import NDArray

from xec_deploy.events.blocks import BLOCK_BYTES, BlockMemory
from xec_deploy.events.columns import Ragged

__all__ = ["RNTupleField", "verify_pages"]

CHECKSUM_BYTES = 8
CODECS = {0: "none", 1: "ZLIB", 2: "LZMA", 4: "LZ4", 5: "ZSTD"}
"""By compression setting // 100."""


def verify_pages(ntuple: Any) -> None:
    """Make ``ntuple`` verify the checksum of its page lists, now, and of every page it reads.

    All of them pass through the method ``read_locator``, which is replaced on this one object.
    """
    plain = ntuple.read_locator

    def read_page_list(locator: Any, uncompressed_bytes: int) -> tuple[Any, Any]:
        chunk, cursor = plain(locator, uncompressed_bytes)
        _require_checksum(bytes(chunk.raw_data), "a page list")
        return chunk, cursor

    ntuple.read_locator = read_page_list
    checked = {
        page.locator.offset
        for cluster in ntuple.page_link_list
        for column in cluster
        for page in column.pages
        if page.has_checksum
    }

    def read_page(locator: Any, uncompressed_bytes: int) -> tuple[Any, Any]:
        if locator.offset not in checked:
            result: tuple[Any, Any] = plain(locator, uncompressed_bytes)
            return result
        start, size = locator.offset, locator.num_bytes
        chunk = ntuple.file.source.chunk(start, start + size + CHECKSUM_BYTES)
        _require_checksum(bytes(chunk.raw_data), f"the page at byte {start}")
        cursor = uproot.source.cursor.Cursor(start)
        if size < uncompressed_bytes:
            chunk = uproot.compression.decompress(
                chunk, cursor, {}, size, uncompressed_bytes, block_info=None
            )
            cursor.move_to(0)
        return chunk, cursor

    ntuple.read_locator = read_page


def _require_checksum(stored: bytes, what: str) -> None:
    """Compare the last eight bytes with the hash of those before them."""
    (expected,) = struct.unpack("<Q", stored[-CHECKSUM_BYTES:])
    if xxhash.xxh3_64_intdigest(stored[:-CHECKSUM_BYTES]) != expected:
        raise ValueError(f"the checksum of {what} does not match")


class _PagedColumn:
    """Elements of one column, a page at a time; the last page is kept."""

    def __init__(self, ntuple: Any, column: int) -> None:
        self._ntuple = ntuple
        self._column = column
        self._metadata = ntuple.get_field_metadata(column)
        self._held: tuple[int, int] | None = None
        self._page: NDArray[Any] = np.empty(0, self._metadata.dtype)

    def read(self, cluster: int, start: int, stop: int) -> NDArray[Any]:
        """Elements ``start`` to ``stop`` of the column within ``cluster``."""
        pages = self._ntuple.page_link_list[cluster][self._column].pages
        edges = np.cumsum([0, *(page.num_elements for page in pages)])
        if stop > edges[-1]:
            raise ValueError(f"{edges[-1]} elements in the cluster, {stop} expected")
        out = np.empty(stop - start, self._metadata.dtype)
        position = start
        while position < stop:
            index = int(np.searchsorted(edges, position, side="right")) - 1
            page = self._load(cluster, index, pages[index].num_elements)
            end = min(int(edges[index + 1]), stop)
            out[position - start : end - start] = page[position - edges[index] : end - edges[index]]
            position = end
        return out

    def _load(self, cluster: int, index: int, size: int) -> NDArray[Any]:
        if self._held != (cluster, index):
            page = np.empty(size, self._metadata.dtype)
            self._ntuple.read_page(page, cluster, self._column, index, self._metadata)
            self._ntuple.post_process(page, self._metadata)
            self._page, self._held = page, (cluster, index)
        return self._page


class RNTupleField:
    """A numeric field: a scalar, a fixed array or a collection of numbers.

    Parameters
    ----------
    ntuple
        The uproot RNTuple, after `verify_pages`.
    name
        A top-level field.

    Raises
    ------
    TypeError
        If the field does not hold numbers.
    """

    def __init__(self, ntuple: Any, name: str) -> None:
        self._ntuple = ntuple
        field = ntuple[name]
        self.name = name
        self.typename = str(field.typename)
        form = field.to_akform()[0].contents[0]
        self._offset_column: int | None = None
        self.shape: tuple[int, ...] | None = ()
        if isinstance(form, ak.forms.ListOffsetForm) and not form.parameters:
            self._offset_column = _column_number(form.form_key)
            self.shape = None
            form = form.content
        else:
            while isinstance(form, ak.forms.RegularForm):
                self.shape = (*(self.shape or ()), form.size)
                form = form.content
        dtype = np.dtype(form.primitive) if isinstance(form, ak.forms.NumpyForm) else None
        if dtype is None or dtype.kind not in "biuf" or form.inner_shape:
            raise TypeError(f"the type {self.typename} is not a number or an array of numbers")
        self._column = _column_number(form.form_key)
        self.dtype: np.dtype[Any] = dtype
        self._values = _PagedColumn(ntuple, self._column)
        self._offsets: tuple[int, NDArray[np.int64]] | None = None
        self._plan_blocks()

    def _plan_blocks(self) -> None:
        edges, self._cluster_of_block, self._first_of_cluster = [0], [], []
        for cluster, summary in enumerate(self._ntuple.cluster_summaries):
            first, count = int(summary.num_first_entry), int(summary.num_entries)
            self._first_of_cluster.append(first)
            if self.shape is None:
                elements = self._ntuple.page_link_list[cluster][self._column].pages
                width = sum(page.num_elements for page in elements) / max(count, 1)
            else:
                width = float(math.prod(self.shape))
            step = max(int(BLOCK_BYTES / max(width * self.dtype.itemsize, 1.0)), 1)
            for stop in range(first + step, first + count + step, step):
                edges.append(min(stop, first + count))
                self._cluster_of_block.append(cluster)
        self.boundaries = np.asarray(edges, np.int64)

    @property
    def codec(self) -> str:
        """Compression of the field's values in the first cluster."""
        for cluster in self._ntuple.page_link_list:
            settings = cluster[self._column].compression_settings
            if settings is not None:
                return CODECS.get(settings // 100, "unknown")
        return "none"

    @property
    def units(self) -> int:
        """Number of pages."""
        clusters = self._ntuple.page_link_list
        return sum(len(cluster[self._column].pages) for cluster in clusters)

    def read_entries(
        self, first: int, last: int, blocks: BlockMemory | None = None
    ) -> NDArray[Any] | Ragged:
        """Decompress the pages of entries ``first`` to ``last``; one that straddles is kept."""
        del blocks  # pages are decompressed where they stay
        block = int(np.searchsorted(self.boundaries, first, side="right")) - 1
        cluster = self._cluster_of_block[block]
        base = self._first_of_cluster[cluster]
        first, last = first - base, last - base
        if self.shape is not None:
            width = math.prod(self.shape)
            flat = self._read_values(cluster, first * width, last * width)
            return flat.reshape(last - first, *self.shape)
        offsets = self._read_offsets(cluster)[first : last + 1]
        content = self._read_values(cluster, int(offsets[0]), int(offsets[-1]))
        return Ragged(offsets - offsets[0], content)

    def _read_values(self, cluster: int, start: int, stop: int) -> NDArray[Any]:
        column = self._ntuple.page_link_list[cluster][self._column]
        metadata = self._ntuple.get_field_metadata(self._column)
        # delta encoding runs on across pages, and an alternative encoding lies in another column
        if column.suppressed or metadata.delta or metadata.dtype != metadata.dtype_result:
            whole = self._ntuple.read_cluster_range(self._column, cluster, cluster + 1)
            part: NDArray[Any] = whole[start:stop]
            return part
        return self._values.read(cluster, start, stop)

    def _read_offsets(self, cluster: int) -> NDArray[np.int64]:
        if self._offsets is None or self._offsets[0] != cluster:
            offsets = self._ntuple.read_cluster_range(self._offset_column, cluster, cluster + 1)
            self._offsets = cluster, np.asarray(offsets, dtype=np.int64)
        return self._offsets[1]


def _column_number(form_key: str | None) -> int:
    prefix, _, number = (form_key or "").partition("-")
    if prefix != "column" or not number.isdecimal():
        raise TypeError(f"the field is stored in an unknown way ({form_key})")
    return int(number)
