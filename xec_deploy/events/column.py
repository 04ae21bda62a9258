"""A branch to be written: its type, and its unit in the branch title."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

__all__ = ["Column", "set_branch_titles"]


@dataclass(frozen=True)
class Column:
    """One branch: element type, unit, shape of an entry, and a few words on its meaning."""

    dtype: DTypeLike
    unit: str | None = None
    shape: tuple[int, ...] = ()
    description: str = ""
    full_title: str | None = None
    """The title to write instead of one made of the others: that of a branch that is copied."""

    def title(self, name: str) -> str:
        """Branch title as ROOT shows it, e.g. ``energy [GeV]: energy of the photon``."""
        if self.full_title is not None:
            return self.full_title
        title = f"{name} [{self.unit}]" if self.unit else name
        return f"{title}: {self.description}" if self.description else title

    @property
    def element(self) -> np.dtype[Any]:
        """Element type in the byte order of ROOT files."""
        return np.dtype(self.dtype).newbyteorder(">")


def set_branch_titles(tree: Any, titles: Mapping[str, str]) -> None:
    """Give the branches of a new uproot tree free titles.

    uproot offers no argument for them and titles every branch with its leaf list.  ROOT takes
    dimensions and types from the leaves, so the branch title is free; the description of the
    tree is written anew with it, the same way uproot does when it grows.
    """
    cascade, file = tree._cascading, tree._file  # noqa: SLF001
    for datum in cascade._branch_data:  # noqa: SLF001
        datum["fTitle"] = titles[datum["fName"]]
    key = cascade.key
    start, stop = key.seek_location, key.seek_location + key.num_bytes + key.compressed_bytes
    cascade.write_anew(file.sink)
    file._move_tree(start, cascade.key.seek_location)  # noqa: SLF001
    cascade.freesegments.release(start, stop)
    file.sink.set_file_length(cascade.freesegments.fileheader.end)
    file.sink.flush()
