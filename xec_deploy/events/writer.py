"""The kinds of files the package writes: results, as TTree or RNTuple, and (simulated) events."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Final

import awkward as ak
import numpy as np
from numpy.typing import NDArray

from xec_deploy.detector.constants import N_SENSORS
from xec_deploy.events.column import Column
from xec_deploy.events.treewriter import Codec, TreeWriter

__all__ = ["EVENT_COLUMNS", "EventWriter", "NTupleWriter", "ResultWriter"]

EVENT_COLUMNS: Final[Mapping[str, Column]] = {
    "run": Column("i4"),
    "event": Column("i4"),
    "npho": Column("f4", "photons", (N_SENSORS,)),
    "relative_time": Column("f4", "s", (N_SENSORS,)),
}
"""Branches every file of events has."""


class ResultWriter(TreeWriter):
    """Writes one row of results an event; see `TreeWriter` for how it becomes a file.

    Parameters
    ----------
    path
        The file to make.
    columns
        The branches by name, in order.
    tree, title
        Name and title of the TTree.
    compression
        ``LZ4``, ``ZSTD``, ``ZLIB``, ``LZMA`` or ``none``.  LZ4, ZLIB and LZMA carry checksums;
        damage to ZSTD data in a TTree can go unnoticed, by ROOT as well.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        columns: Mapping[str, Column],
        *,
        tree: str = "xec",
        title: str = "liquid-xenon detector results",
        compression: Codec = "ZLIB",
    ) -> None:
        super().__init__(path, columns, tree=tree, title=title, compression=compression)


class NTupleWriter(ResultWriter):
    """Writes the same rows as an RNTuple.

    uproot writes no descriptions of fields, so that there is no place for units.
    """

    def _make_tree(self, title: str) -> Any:
        forms = [_form(column) for column in self.columns.values()]
        form = ak.forms.RecordForm(forms, list(self.columns))
        return self._file.mkrntuple(self.tree, form, title)

    def _append(self, rows: Mapping[str, NDArray[Any]]) -> None:
        native = {name: np.asarray(v, v.dtype.newbyteorder("=")) for name, v in rows.items()}
        self._tree.extend(ak.Array(native))

    def _count_entries(self, tree: Any) -> dict[str, int]:
        return {str(field.name): int(tree.num_entries) for field in tree.fields}


def _form(column: Column) -> ak.forms.Form:
    form: ak.forms.Form = ak.forms.NumpyForm(np.dtype(column.dtype).name)
    for size in reversed(column.shape):
        form = ak.forms.RegularForm(form, size)
    return form


class EventWriter(TreeWriter):
    """Writes events in the form the experiment's files have.

    Parameters
    ----------
    path
        The file to make.
    columns
        Branches beside `EVENT_COLUMNS`: truth, ``dead`` and the like.
    tree, title
        Name and title of the TTree.
    compression
        ``LZ4``, ``ZSTD``, ``ZLIB``, ``LZMA`` or ``none``.  LZ4, ZLIB and LZMA carry checksums;
        damage to ZSTD data in a TTree can go unnoticed, by ROOT as well.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        columns: Mapping[str, Column] | None = None,
        *,
        tree: str = "tree",
        title: str = "liquid-xenon detector events",
        compression: Codec = "LZ4",
    ) -> None:
        super().__init__(
            path,
            {**EVENT_COLUMNS, **(columns or {})},
            tree=tree,
            title=title,
            compression=compression,
        )
