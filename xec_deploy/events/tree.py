"""An open tree of a ROOT file, TTree or RNTuple, that gives its branches as sources."""

from __future__ import annotations

import math
import os
from types import TracebackType
from typing import Any, Self

import numpy as np
import uproot

from xec_deploy.errors import InputError, nearest
from xec_deploy.events.branches import detect_tree
from xec_deploy.events.columns import BranchSource, Ragged
from xec_deploy.events.failures import check_local_file, file_boundary, is_url, place
from xec_deploy.events.rntuple import RNTupleField, verify_pages
from xec_deploy.events.ttree import TTreeBranch

__all__ = ["OpenTree"]

PEEK_ENTRIES = 64
"""Entries of a vector branch looked at on opening, to tell a wrong branch from a bad event."""
LOCAL_FIX = "Check that it is a ROOT file, and copy or produce it again."
REMOTE_FIX = "Check the address and the network, or copy the file to a local disk first."


class OpenTree:
    """A tree in a ROOT file; a context manager.

    Parameters
    ----------
    path
        Local path or URL.
    tree
        Name of the tree; None to find it.

    Raises
    ------
    InputError
        If the file or the tree cannot be used.
    """

    def __init__(self, path: str, tree: str | None) -> None:
        self.path = path
        self._descriptor: int | None = None
        options: dict[str, Any] = {"array_cache": None, "object_cache": None}
        if not is_url(path):
            check_local_file(path)
            # the default goes through an event loop, which costs more than small branches
            options |= {"handler": uproot.MultithreadedFileSource, "num_workers": 1}
        # a mapping keeps uproot from looking for "path:object" in the name; everything is read
        # once, so that caches would only hold memory, of the last hundred files
        with file_boundary(path, "opening", fix=REMOTE_FIX if is_url(path) else LOCAL_FIX):
            self._file: Any = uproot.open({path: None}, **options)
            if not is_url(path):
                self._descriptor = os.open(path, os.O_RDONLY)
        try:
            with file_boundary(path, "reading the list of contents"):
                classes = self._file.classnames(recursive=True, cycle=False)
            self.name = detect_tree(path, classes, tree)
            with file_boundary(place(path, self.name), "reading the description"):
                self._tree: Any = self._file[self.name]
                self.is_rntuple = classes[self.name] == "ROOT::RNTuple"
                if self.is_rntuple:
                    verify_pages(self._tree)
                    self.names = tuple(str(field.name) for field in self._tree.fields)
                else:
                    self.names = tuple(self._tree.keys(recursive=True))
                self.num_entries = int(self._tree.num_entries)
                self.uuid = str(self._file.file.uuid)
        except BaseException:
            self.close()
            raise

    @property
    def kind(self) -> str:
        """``TTree`` or ``RNTuple``."""
        return "RNTuple" if self.is_rntuple else "TTree"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def source(self, branch: str) -> BranchSource:
        """Return a branch to be read in blocks.

        Raises
        ------
        InputError
            If there is no such branch, it holds no numbers, or its entries are not the tree's.
        """
        where = place(self.path, self.name, branch)
        if branch not in self.names:
            raise InputError(
                f"no branch '{branch}'",
                where=place(self.path, self.name),
                fix=nearest(branch, self.names),
            )
        source: BranchSource
        with file_boundary(where, "reading the description"):
            try:
                if self.is_rntuple:
                    source = RNTupleField(self._tree, branch)
                else:
                    source = TTreeBranch(self._tree[branch], self._descriptor)
            except TypeError as error:
                raise InputError(
                    str(error), where=where, fix="Name a numeric branch of fixed size."
                ) from error
            entries = int(source.boundaries[-1])
        if entries != self.num_entries:
            raise InputError(
                f"the branch has {entries} entries, the tree {self.num_entries}",
                where=where,
                fix="The file was not closed properly; produce it again or recover it with ROOT.",
            )
        return source

    def codec(self, source: BranchSource) -> str:
        """Compression of a branch: LZ4, ZSTD, ZLIB, LZMA or none."""
        with file_boundary(place(self.path, self.name, source.name), "reading"):
            return source.codec

    def row_length(self, source: BranchSource, expected: int | None = None) -> int:
        """Return how many values the entries of a branch have.

        Parameters
        ----------
        source
            A branch of this tree.  Of a vector branch the first entries are looked at.
        expected
            The number to prefer where the entries differ.

        Returns
        -------
        length
            ``expected`` if any of the entries has it, else the first entry's (0 if the tree is
            empty).
        """
        if source.shape is not None:
            return math.prod(source.shape)
        found: list[int] = []
        for index in range(len(source.boundaries) - 1):
            entries = (int(source.boundaries[index]), int(source.boundaries[index + 1]))
            with file_boundary(place(self.path, self.name, source.name, entries), "reading"):
                block = source.read_entries(*entries)
            found += (
                [int(length) for length in block.lengths]
                if isinstance(block, Ragged)
                else [int(np.prod(block.shape[1:]))] * len(block)
            )
            if expected in found:
                return int(expected or 0)
            if len(found) >= PEEK_ENTRIES:
                break
        return found[0] if found else (expected or 0)
