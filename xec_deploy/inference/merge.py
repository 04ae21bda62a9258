"""Joining results: the rows of many files in one, if they were made in the same way."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, Final

import numpy as np
import uproot

from xec_deploy.errors import InputError, UsageError
from xec_deploy.events import Column, NTupleWriter, ResultWriter, file_checksum
from xec_deploy.events.failures import check_local_file, file_boundary, place
from xec_deploy.inference.outputs import make_folder
from xec_deploy.inference.provenance import RECIPE_KEYS, differences, now, read_provenance

__all__ = ["MergeResult", "merge"]

ROWS_AT_ONCE: Final = 50_000
ENGINE_KEYS: Final = ("backend", "batch")
"""What may differ by the last digits: other engines and other sizes of batches."""


@dataclass(frozen=True)
class MergeResult:
    """What was joined: number of files, of their inputs, of entries."""

    files: int
    inputs: int
    entries: int


@dataclass(frozen=True)
class _Part:
    path: Path
    tree: str
    entries: int
    columns: dict[str, Column]
    provenance: dict[str, Any]

    @property
    def inputs(self) -> list[dict[str, Any]]:
        found = self.provenance.get("inputs", [self.provenance.get("input")])
        return list(found) if isinstance(found, list) else []

    def rows(self) -> Iterator[dict[str, np.ndarray[Any, Any]]]:
        with (
            file_boundary(place(str(self.path), self.tree), "reading"),
            uproot.open({self.path: None}, array_cache=None) as file,
        ):
            tree = file[self.tree]
            for first in range(0, self.entries, ROWS_AT_ONCE):
                last = min(first + ROWS_AT_ONCE, self.entries)
                arrays = tree.arrays(
                    list(self.columns), entry_start=first, entry_stop=last, library="np"
                )
                yield {
                    name: np.stack(values) if values.dtype == object else values
                    for name, values in arrays.items()
                }


def merge(
    files: Sequence[str | PathLike[str]],
    output: str | PathLike[str],
    *,
    mixed: bool = False,
    force: bool = False,
    progress: Callable[[int], Any] | None = None,
) -> MergeResult:
    """Join result files, in order, streaming.

    Parameters
    ----------
    files
        Results of :func:`infer`.
    output
        The file to make; it gets its name when complete.
    mixed
        Allow results of different engines and batches, which differ in the last digits.
    force
        Replace an existing file.
    progress
        Called with the number of entries after each portion.

    Raises
    ------
    InputError
        If a file is no complete result.
    UsageError
        If the results were made in different ways, share an input, or the output exists.
    OutputError
        If the output cannot be written.
    """
    target = Path(output)
    if target.exists() and not force:
        raise UsageError("the output exists", where=str(target), fix="Pass --force to replace it.")
    if any(Path(file).resolve() == target.resolve() for file in files):
        raise UsageError("the output is one of the inputs", where=str(target))
    parts = [_open(Path(file)) for file in files]
    if not parts:
        raise UsageError("nothing to join", fix="Name result files of xec-deploy infer.")
    first = parts[0]
    for part in parts[1:]:
        _check_same(first, part, mixed=mixed)
    _check_distinct(parts)
    make_folder(target)
    total = sum(part.entries for part in parts)
    is_ntuple = str(first.provenance.get("form", "")).endswith("rntuple")
    writer_of = NTupleWriter if is_ntuple else ResultWriter
    with writer_of(target, first.columns, tree=first.tree) as writer:
        for part in parts:
            for rows in part.rows():
                writer.extend(rows)
                if progress is not None:
                    progress(len(next(iter(rows.values()))))
        writer.commit(_provenance(parts), expected_entries=total)
    return MergeResult(len(parts), sum(len(part.inputs) for part in parts), total)


def _open(path: Path) -> _Part:
    check_local_file(str(path))
    provenance = read_provenance(path)
    if provenance is None or any(key not in provenance for key in RECIPE_KEYS):
        raise InputError(
            "this is no complete result file of this version",
            where=str(path),
            fix="Name results of xec-deploy infer; hadd joins other files.",
        )
    name = "val_tree" if str(provenance["form"]).startswith("legacy") else "xec"
    with (
        file_boundary(place(str(path), name), "reading the description"),
        uproot.open({path: None}) as file,
    ):
        tree = file[name]
        columns = _columns(tree)
        return _Part(path, name, int(tree.num_entries), columns, provenance)


def _columns(tree: Any) -> dict[str, Column]:
    if hasattr(tree, "branches"):
        found = {}
        for branch in tree.branches:
            dtype = branch.interpretation.numpy_dtype
            found[branch.name] = Column(
                dtype.base.newbyteorder("="), None, dtype.shape, full_title=branch.title
            )
        return found
    arrays = tree.arrays(entry_stop=0)
    types = {name: arrays[name].type.content for name in arrays.fields}
    return {
        name: Column(np.dtype(getattr(kind, "content", kind).primitive), None, _shape(kind))
        for name, kind in types.items()
    }


def _shape(kind: Any) -> tuple[int, ...]:
    return (kind.size,) if hasattr(kind, "size") else ()


def _check_same(first: _Part, part: _Part, *, mixed: bool) -> None:
    left_open = ENGINE_KEYS if mixed else ()
    other = differences(part.provenance, first.provenance, left_open)
    if other:
        only_engine = set(other) <= set(ENGINE_KEYS)
        raise UsageError(
            f"made with another {' and '.join(other)} than {first.path}",
            where=str(part.path),
            fix="Pass --mixed if last digits do not matter."
            if only_engine
            else "Infer both in the same way.",
        )
    if _kinds(part) != _kinds(first):
        raise UsageError(
            f"has other branches than {first.path}",
            where=str(part.path),
            fix="Infer both with the same --keep, from inputs of one form.",
        )


def _check_distinct(parts: Sequence[_Part]) -> None:
    seen: dict[str, Path] = {}
    for part in parts:
        for record in part.inputs:
            identity = repr([record.get(key) for key in ("checksum", "uuid", "tree", "selection")])
            before = seen.setdefault(identity, part.path)
            if before is not part.path:
                raise UsageError(
                    f"{record.get('path')} is in {before} as well",
                    where=str(part.path),
                    fix="Leave one of them out.",
                )


def _kinds(part: _Part) -> dict[str, tuple[str, tuple[int, ...]]]:
    return {name: (str(c.element), c.shape) for name, c in part.columns.items()}


def _provenance(parts: Sequence[_Part]) -> Mapping[str, Any]:
    first = parts[0].provenance
    engines = {repr([part.provenance[key] for key in ENGINE_KEYS]) for part in parts}
    merged = [
        {
            "path": str(part.path.resolve()),
            "entries": part.entries,
            "checksum": file_checksum(part.path),
            **({key: part.provenance[key] for key in ENGINE_KEYS} if len(engines) > 1 else {}),
        }
        for part in parts
    ]
    return {
        **first,
        "input": None,
        "inputs": [record for part in parts for record in part.inputs],
        "merged": merged,
        "command": sys.argv,
        "started": min(part.provenance["started"] for part in parts),
        "finished": now(),
    }
