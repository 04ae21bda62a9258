"""Files written anew in a form that is fast to read: another codec, baskets of many events."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import awkward as ak
import numpy as np
import uproot
import xxhash

from xec_deploy.errors import InputError, OutputError, UsageError
from xec_deploy.events.column import set_branch_titles
from xec_deploy.events.failures import check_local_file, file_boundary, is_url, place
from xec_deploy.events.treewriter import COMPRESSIONS, DISK, PART_SUFFIX, Codec

__all__ = ["RepackResult", "repack"]

BASKET_BYTES: Final = 4 * 2**20
"""Of the widest branch, uncompressed: some 200 events."""
MOST_ROWS: Final = 10_000
HADD: Final = "Use ROOT's own: hadd -f505 OUT.root IN.root."


@dataclass(frozen=True)
class RepackResult:
    """What was written.

    Attributes
    ----------
    entries
        Entries of each tree.
    bytes_before, bytes_after
        Sizes of the files; None before if the input is behind a URL.
    """

    entries: dict[str, int]
    bytes_before: int | None
    bytes_after: int


def repack(
    source: str,
    output: str | os.PathLike[str],
    *,
    codec: Codec = "LZ4",
    force: bool = False,
    progress: Callable[[int], Any] | None = None,
) -> RepackResult:
    """Write all trees of a file, with all their branches, and all other objects anew.

    Memory is that of a basket of each branch.  The output gets its name after it has been read
    back and every branch of it has the content that was read, by hash.

    Parameters
    ----------
    source
        Path or URL.
    output
        Path of the new file.
    codec
        ``LZ4``, ``ZSTD``, ``ZLIB``, ``LZMA`` or ``none``.
    force
        Replace an existing output.
    progress
        Called with the number of entries after each basket.

    Raises
    ------
    InputError
        If the input cannot be read, or has branches that cannot be written.
    OutputError
        If the output cannot be written.
    UsageError
        If it exists.
    """
    target = Path(output)
    if target.exists() and not force:
        raise UsageError("the output exists", where=str(target), fix="Pass --force to replace it.")
    if target.exists() and not is_url(source) and target.samefile(source):
        raise UsageError("the output is the input", where=str(target), fix="Name another file.")
    if not is_url(source):
        check_local_file(source)
    part = target.with_name(target.name + PART_SUFFIX)
    try:
        with file_boundary(source, "opening"):
            opened = uproot.open({source: None}, array_cache=None)
        with opened:
            written = _write(opened, source, part, codec, progress or (lambda _: None))
        _verify(part, written)
        _synchronise(part)
        size = part.stat().st_size
        part.replace(target)
    except OSError as error:
        raise OutputError(
            f"writing failed ({error.strerror or error})", where=str(part), fix=DISK
        ) from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)
    return RepackResult(
        entries={name: content.entries for name, content in written.items()},
        bytes_before=None if is_url(source) else Path(source).stat().st_size,
        bytes_after=size,
    )


class _Content:
    """Number of entries of a tree, and a hash of each branch's values."""

    def __init__(self) -> None:
        self.entries = 0
        self._digests: dict[str, Any] = {}

    def add(self, rows: Mapping[str, ak.Array]) -> None:
        self.entries += len(next(iter(rows.values())))
        for name, values in rows.items():
            digest = self._digests.setdefault(name, xxhash.xxh3_128())
            if values.ndim > 1 and not _is_regular(values):
                digest.update(np.asarray(ak.num(values), np.int64).tobytes())
            flat = np.asarray(ak.flatten(values, axis=None))
            digest.update(np.ascontiguousarray(flat, flat.dtype.newbyteorder("<")).tobytes())

    @property
    def hashes(self) -> dict[str, str]:
        return {name: digest.hexdigest() for name, digest in self._digests.items()}


def _write(
    opened: Any, source: str, part: Path, codec: Codec, progress: Callable[[int], Any]
) -> dict[str, _Content]:
    with file_boundary(source, "reading the list of contents"):
        classes: dict[str, str] = opened.classnames(recursive=True, cycle=False)
    trees = [name for name, kind in classes.items() if kind in {"TTree", "TNtuple", "TNtupleD"}]
    if not trees:
        rntuple = "ROOT::RNTuple" in classes.values()
        raise InputError(
            "the file has no TTree" + (", and an RNTuple has good pages" if rntuple else ""),
            where=source,
            fix="Nothing needs to be done." if rntuple else "Check that it holds events.",
        )
    written: dict[str, _Content] = {}
    with uproot.recreate(part, compression=COMPRESSIONS[codec]) as file:
        others = [
            name for name, kind in classes.items() if name not in trees and "Tree" not in kind
        ]
        others = [name for name in others if not classes[name].startswith("TDirectory")]
        if others:
            with file_boundary(source, "copying other objects", fix=HADD):
                file.copy_from(opened, filter_name=others)
        for name in trees:
            written[name] = _write_tree(file, opened[name], source, name, progress)
    return written


def _write_tree(
    file: Any, tree: Any, source: str, name: str, progress: Callable[[int], Any]
) -> _Content:
    where = place(source, name)
    with file_boundary(where, "reading the description"):
        types = _branch_types(tree, where)
        step = _step(tree)
    content = _Content()
    new = file.mktree(name, types, title=tree.title)
    titles = {branch.name: branch.title for branch in tree.branches if branch.name in types}
    made = {datum["fName"]: datum["fTitle"] for datum in new._cascading._branch_data}  # noqa: SLF001
    set_branch_titles(new, made | titles)
    for rows in _iterate(tree, list(types), step, where):
        content.add(rows)
        new.extend(rows)
        progress(len(next(iter(rows.values()))))
    return content


def _iterate(tree: Any, names: list[str], step: int, where: str) -> Iterator[dict[str, ak.Array]]:
    parts = tree.iterate(names, step_size=step, library="ak", how=dict)
    while True:
        with file_boundary(where, "reading"):
            rows = next(parts, None)
        if rows is None:
            return
        yield rows


def _branch_types(tree: Any, where: str) -> dict[str, Any]:
    """Return what uproot must be told to make such branches.

    Counters of counted arrays are left out: uproot makes them itself.
    """
    counters = {
        branch.count_branch.name for branch in tree.branches if branch.count_branch is not None
    }
    types: dict[str, Any] = {}
    for branch in tree.branches:
        if branch.name in counters:
            continue
        kind: Any = getattr(branch.interpretation, "numpy_dtype", None)
        jagged = isinstance(branch.interpretation, uproot.interpretation.jagged.AsJagged)
        if jagged:
            kind = branch.interpretation.content.numpy_dtype
        if kind is None or kind.base.kind not in "biuf" or (jagged and kind.subdtype is not None):
            raise InputError(
                f"branch '{branch.name}' holds {branch.typename}, which cannot be written",
                where=where,
                fix=HADD,
            )
        types[branch.name] = f"var * {kind.base.newbyteorder('=').name}" if jagged else kind
    return types


def _step(tree: Any) -> int:
    """Return how many entries make a basket of `BASKET_BYTES` of the widest branch."""
    entries = max(int(tree.num_entries), 1)
    widest = max((branch.uncompressed_bytes / entries for branch in tree.branches), default=1.0)
    return max(1, min(MOST_ROWS, int(BASKET_BYTES / max(widest, 1.0))))


def _verify(part: Path, written: Mapping[str, _Content]) -> None:
    with uproot.open({part: None}, array_cache=None) as file:
        for name, expected in written.items():
            tree, found = file[name], _Content()
            names = list(expected.hashes) or [branch.name for branch in tree.branches]
            for rows in _iterate(tree, names, _step(tree), place(str(part), name)):
                found.add(rows)
            if found.entries != expected.entries or found.hashes != expected.hashes:
                raise OutputError(
                    f"tree '{name}' reads back as another one than was written",
                    where=str(part),
                    fix=DISK,
                )


def _is_regular(values: ak.Array) -> bool:
    return isinstance(values.layout, ak.contents.RegularArray | ak.contents.NumpyArray)


def _synchronise(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
