"""Branches of a TTree as sources of blocks aligned to baskets."""

from __future__ import annotations

import math
import re
from functools import cached_property
from typing import Any

import awkward as ak
import numpy as np
import uproot
from numpy.typing import NDArray

from xec_deploy.events.baskets import BasketReader
from xec_deploy.events.blocks import BLOCK_BYTES, BlockMemory
from xec_deploy.events.columns import Ragged

__all__ = ["TTreeBranch"]

VECTOR_OF_NUMBERS = re.compile(
    r"(?:std::|ROOT::VecOps::|ROOT::)?(?:vector|RVec)<\s*[\w ]+?\s*(?:,.*)?>"
)
CODEC_OF_MAGIC = {b"ZL": "ZLIB", b"XZ": "LZMA", b"L4": "LZ4", b"ZS": "ZSTD", b"CS": "ZLIB"}


class TTreeBranch:
    """A numeric branch: a scalar, a fixed array, a vector or a counted array.

    Parameters
    ----------
    branch
        The uproot branch.
    descriptor
        The open file if it is a local one, to read baskets of plain arrays faster than uproot.

    Raises
    ------
    TypeError
        If the branch does not hold numbers.
    """

    def __init__(self, branch: Any, descriptor: int | None = None) -> None:
        self._branch = branch
        self._descriptor = descriptor
        self.name = str(branch.name)
        self.typename = str(branch.typename)
        interpretation = branch.interpretation
        dtype: Any = getattr(interpretation, "numpy_dtype", None)
        self.shape: tuple[int, ...] | None = None
        if isinstance(interpretation, uproot.interpretation.numerical.Numerical):
            if dtype.subdtype is not None:
                dtype, self.shape = dtype.subdtype
            else:
                self.shape = ()
        elif isinstance(interpretation, uproot.interpretation.jagged.AsJagged):
            dtype = interpretation.content.numpy_dtype
        elif VECTOR_OF_NUMBERS.fullmatch(self.typename):
            # a vector that ROOT did not split: its element type shows on reading
            dtype = np.dtype(np.float64)
        if dtype is None or dtype.kind not in "biuf" or dtype.subdtype is not None:
            raise TypeError(f"the type {self.typename} is not a number or an array of numbers")
        self.dtype: np.dtype[Any] = dtype.newbyteorder("=")

    @cached_property
    def codec(self) -> str:
        """Compression of the first basket.

        Not the branch's setting: uproot writes 0 there whatever it uses, and a small basket
        stays uncompressed.
        """
        if self._branch.num_baskets == 0:
            compression = self._branch.compression
            return "none" if compression is None else str(compression.name)
        key = self._branch.basket_key(0)
        if key.fNbytes - key.fKeylen == key.fObjlen:
            return "none"
        start = key.data_cursor.index
        magic = self._branch.file.source.chunk(start, start + 2).raw_data
        return CODEC_OF_MAGIC.get(bytes(magic), "unknown")

    @cached_property
    def _plain(self) -> BasketReader | None:
        """Reader of the baskets; None where uproot must do it."""
        branch = self._branch
        if (
            self._descriptor is None
            or self.shape is None
            or type(branch.interpretation) is not uproot.interpretation.numerical.AsDtype
            or branch.embedded_baskets
        ):
            return None
        count = int(branch.num_baskets)
        return BasketReader(
            self._descriptor,
            self.dtype.newbyteorder(">"),
            math.prod(self.shape),
            np.asarray(branch.entry_offsets, np.int64),
            np.asarray(branch.member("fBasketSeek")[:count], np.int64),
            np.asarray(branch.member("fBasketBytes")[:count], np.int64),
        )

    @property
    def units(self) -> int:
        """Number of baskets."""
        return int(self._branch.num_baskets)

    @cached_property
    def boundaries(self) -> NDArray[np.int64]:
        """(blocks + 1,) entry numbers: whole baskets of together about `BLOCK_BYTES`."""
        edges = np.asarray(self._branch.entry_offsets, dtype=np.int64)
        if (np.diff(edges) < 0).any():
            raise ValueError("the entry numbers of the baskets do not ascend")
        total = int(edges[-1])
        if total == 0:
            return np.zeros(1, np.int64)
        if self.shape is None:
            bytes_per_entry = max(self._branch.uncompressed_bytes / total, 1.0)
        else:
            bytes_per_entry = float(self.dtype.itemsize * math.prod(self.shape))
        step = max(int(BLOCK_BYTES / bytes_per_entry), 1)
        kept = [0]
        while kept[-1] < total:
            # the last basket edge within the step, or the next edge if one basket is larger
            index = int(np.searchsorted(edges, kept[-1] + step, side="right")) - 1
            if edges[index] <= kept[-1]:
                index = int(np.searchsorted(edges, kept[-1], side="right"))
            kept.append(int(edges[index]))
        return np.asarray(kept, np.int64)

    def read_entries(
        self, first: int, last: int, blocks: BlockMemory | None = None
    ) -> NDArray[Any] | Ragged:
        """Decompress the baskets that hold entries ``first`` to ``last``."""
        if self._plain is not None and self.shape is not None:
            rows = self._plain.read(first, last, blocks or BlockMemory())
            return rows.reshape(last - first, *self.shape)
        options = {"entry_start": first, "entry_stop": last, "array_cache": None}
        if self.shape is not None:
            values: NDArray[Any] = self._branch.array(library="np", **options)
            return values
        layout = ak.to_layout(self._branch.array(library="ak", **options))
        layout = layout.to_ListOffsetArray64(True)
        return Ragged(np.asarray(layout.offsets), ak.to_numpy(layout.content))
