"""Writing a TTree that is either complete or not there.

Rows go to ``PATH.part``; only a commit that has read the part file back and found every row
renames it to ``PATH``.  A killed process leaves nothing but the part file.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Literal, Self

import numpy as np
import uproot
from numpy.typing import ArrayLike, NDArray

from xec_deploy.errors import OutputError, UsageError, nearest
from xec_deploy.events.column import Column, set_branch_titles
from xec_deploy.events.failures import file_boundary

__all__ = ["PART_SUFFIX", "PROVENANCE", "Codec", "TreeWriter"]

PART_SUFFIX = ".part"
PROVENANCE = "provenance"
FLUSH_ROWS = 10_000
"""A basket of fewer rows costs more in bookkeeping than in data."""
FLUSH_BYTES = 16 * 2**20
"""Wide rows are flushed earlier, so that neither writer nor reader holds huge baskets."""
DISK = "Check that the disk has room and the quota is not used up, then run again."
Codec = Literal["LZ4", "ZSTD", "ZLIB", "LZMA", "none"]
COMPRESSIONS: dict[str, Any] = {
    "LZ4": uproot.LZ4(4),
    "ZSTD": uproot.ZSTD(5),
    "ZLIB": uproot.ZLIB(1),
    "LZMA": uproot.LZMA(7),
    "none": None,
}


class TreeWriter:
    """Streams rows to a TTree; a context manager that aborts unless committed.

    Parameters
    ----------
    path
        The file that `commit` makes; an existing one is replaced then, and not before.
    columns
        The branches by name, in order.
    tree, title
        Name and title of the TTree.
    compression
        ``LZ4``, ``ZSTD``, ``ZLIB``, ``LZMA`` or ``none``.

    Raises
    ------
    UsageError
        If the file cannot be made: no such directory, no permission.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        columns: Mapping[str, Column],
        *,
        tree: str,
        title: str = "",
        compression: Codec = "ZSTD",
    ) -> None:
        self.path = os.fspath(path)
        self.part = self.path + PART_SUFFIX
        self.tree = tree
        self.columns = dict(columns)
        self.num_entries = 0
        row_bytes = sum(
            column.element.itemsize * int(np.prod(column.shape, dtype=np.int64))
            for column in self.columns.values()
        )
        self._capacity = max(min(FLUSH_ROWS, FLUSH_BYTES // max(row_bytes, 1)), 1)
        self._buffers: dict[str, NDArray[Any]] = {}
        self._buffered = 0
        self._stream: IO[bytes] | None = self._create()
        try:
            with self._boundary():
                self._file = uproot.recreate(self._stream, compression=COMPRESSIONS[compression])
                self._tree = self._make_tree(title)
        except BaseException:
            self.abort()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.abort()

    def extend(self, rows: Mapping[str, ArrayLike]) -> None:
        """Append rows: one array (n, ...) for every column.

        Raises
        ------
        ValueError
            If columns are missing, unknown, or of another shape.
        OutputError
            If they cannot be written, e.g. to a full disk.
        """
        arrays = {name: np.asarray(values) for name, values in rows.items()}
        for name in arrays.keys() ^ self.columns.keys():
            raise ValueError(
                f"column {name!r} is missing or unknown. {nearest(name, self.columns)}"
            )
        count = len(next(iter(arrays.values())))
        for name, column in self.columns.items():
            if arrays[name].shape != (count, *column.shape):
                raise ValueError(
                    f"column {name!r} has shape {arrays[name].shape}, "
                    f"expected {(count, *column.shape)}"
                )
        if not self._buffers:
            self._buffers = {
                name: np.empty((self._capacity, *column.shape), column.element)
                for name, column in self.columns.items()
            }
        done = 0
        while done < count:
            step = min(count - done, self._capacity - self._buffered)
            target = slice(self._buffered, self._buffered + step)
            for name, buffer in self._buffers.items():
                buffer[target] = arrays[name][done : done + step]
            self._buffered += step
            done += step
            if self._buffered == self._capacity:
                self.flush()

    def commit(
        self, provenance: Mapping[str, Any] | None = None, expected_entries: int | None = None
    ) -> None:
        """Complete the file and give it its name.

        Parameters
        ----------
        provenance
            Written as JSON in the TObjString ``provenance``; None to write none.
        expected_entries
            Number of rows there should be; None for those that were given.

        Raises
        ------
        OutputError
            If the rows are not all there when the file is read back, or writing fails.  The part
            file is removed by leaving the context, and ``path`` is untouched.
        """
        stream = self._open_stream()
        with self._boundary():
            self.flush()
            if provenance is not None:
                self._file[PROVENANCE] = json.dumps(
                    provenance, sort_keys=True, allow_nan=False, default=_plain
                )
            self._file.close()
            stream.close()
            self._verify(self.num_entries if expected_entries is None else expected_entries)
            _synchronise(self.part)
            Path(self.part).replace(self.path)
            self._stream = None
            _synchronise(Path(self.path).parent)

    def flush(self) -> None:
        """Write the buffered rows to the part file.

        Raises
        ------
        OutputError
            If they cannot be written, e.g. to a full disk.
        """
        self._open_stream()
        if self._buffered == 0:
            return
        with self._boundary():
            self._append({name: buffer[: self._buffered] for name, buffer in self._buffers.items()})
        self.num_entries += self._buffered
        self._buffered = 0

    def abort(self) -> None:
        """Remove the part file; the writer cannot be used any more.

        Nothing happens after `commit` or `abort`.
        """
        if self._stream is None:
            return
        # closing writes what is buffered, which on a full disk fails once more
        with suppress(OSError):
            self._stream.close()
        self._stream = None
        Path(self.part).unlink(missing_ok=True)

    def _make_tree(self, title: str) -> Any:
        """Make the empty tree in the file."""
        types = {
            name: np.dtype((column.element, column.shape)) for name, column in self.columns.items()
        }
        tree = self._file.mktree(self.tree, types, title=title)
        set_branch_titles(tree, {name: column.title(name) for name, column in self.columns.items()})
        return tree

    def _append(self, rows: Mapping[str, NDArray[Any]]) -> None:
        """Write rows to the tree."""
        self._tree.extend(rows)

    def _count_entries(self, tree: Any) -> dict[str, int]:
        """Count the entries of each branch of the tree, read back."""
        return {branch.name: int(branch.entry_offsets[-1]) for branch in tree.branches}

    def _create(self) -> IO[bytes]:
        if Path(self.path).is_dir():
            raise UsageError("this is a directory", where=self.path, fix="Name a file in it.")
        try:
            return Path(self.part).open("w+b")
        except FileNotFoundError:
            raise UsageError(
                "the directory does not exist", where=self.path, fix="Make it, or check the path."
            ) from None
        except OSError as error:
            raise UsageError(
                f"the file cannot be written ({error.strerror})",
                where=self.part,
                fix="Choose a place where you may write.",
            ) from error

    def _open_stream(self) -> IO[bytes]:
        if self._stream is None or self._stream.closed:
            raise ValueError(f"the writer of {self.path} is finished")
        return self._stream

    def _verify(self, expected: int) -> None:
        with (
            file_boundary(self.part, "reading back", fix=DISK),
            uproot.open({self.part: None}, object_cache=None, array_cache=None) as file,
        ):
            found = self._count_entries(file[self.tree])
        short = {name: count for name, count in found.items() if count != expected}
        if short or found.keys() != self.columns.keys():
            name, count = next(iter(short.items()), ("", 0))
            raise OutputError(
                f"{expected} entries should have been written, branch '{name}' has {count}",
                where=self.part,
                fix=DISK,
            )

    @contextmanager
    def _boundary(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise OutputError(
                f"writing failed ({error.strerror or error})",
                where=self.part,
                fix=DISK,
            ) from error


def _synchronise(path: str | Path) -> None:
    """Wait until a file or directory is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _plain(value: object) -> object:
    """Make NumPy scalars and arrays and paths fit for JSON."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    raise TypeError(f"{type(value).__name__} cannot be stored in the provenance")
