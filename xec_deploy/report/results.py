"""Reading what ``infer`` has written."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import uproot
from numpy.typing import NDArray

from xec_deploy.errors import InputError
from xec_deploy.inference.status import Status

__all__ = ["RESULT_NAMES", "Results", "read_results"]

RESULT_TREE: Final = "xec"
RESULT_NAMES: Final = ("energy", "theta", "phi", "timing", "u", "v", "w", "x", "y", "z")
"""Branches of reconstructed values, in the order of the file: GeV, deg, deg, ns and cm."""
BOOKKEEPING: Final = ("run", "event", "status", "n_dead", "n_inpainted")
MAX_ELEMENTS: Final = 16
"""Kept branches with more elements an event (raw channels) are not loaded."""


@dataclass(frozen=True, eq=False)
class Results:
    """The results of one file of n events.

    Attributes
    ----------
    path
        The file.
    values
        Reconstructed values by name, those of `RESULT_NAMES` that are there, (n,) float64.
    sigmas
        Predicted standard deviations, by the name of the value they belong to.
    conventional
        The conventional reconstruction's values, from the branches ``<name>_conv``; empty if
        ``infer`` made none.
    kept
        Other numeric branches, handed through from the input, (n, ...).
    run, event
        (n,) int64; -1 and the entry number if the file has none.
    status
        (n,) uint32, bits of `Status`; 0 if the file has none.
    counts
        ``n_dead`` and ``n_inpainted`` where present, (n,) int64.
    provenance
        What the file says about its origin; empty if nothing.
    """

    path: str
    values: Mapping[str, NDArray[np.float64]]
    sigmas: Mapping[str, NDArray[np.float64]]
    conventional: Mapping[str, NDArray[np.float64]]
    kept: Mapping[str, NDArray[Any]]
    run: NDArray[np.int64]
    event: NDArray[np.int64]
    status: NDArray[np.uint32]
    counts: Mapping[str, NDArray[np.int64]]
    provenance: Mapping[str, Any]

    def __len__(self) -> int:
        return len(self.status)

    def status_counts(self) -> dict[str, int]:
        """Return the number of events with each status bit, and of those with none."""
        counts = {"good": int(np.count_nonzero(self.status == 0))}
        for bit in Status:
            name = str(bit.name).lower().replace("_", " ")
            counts[name] = int(np.count_nonzero(self.status & int(bit)))
        return counts


def read_results(path: str | os.PathLike[str]) -> Results:
    """Read the tree ``xec`` of a result file.

    All scalar and short branches are loaded: some 100 bytes an event.

    Raises
    ------
    InputError
        If the file cannot be read or has no results in it.
    """
    where = os.fspath(path)
    try:
        with uproot.open(where) as file:
            trees = {key.partition(";")[0] for key in file.keys(recursive=False)}
            _require_tree(trees, where)
            columns = _columns(file[RESULT_TREE])
            entries = int(file[RESULT_TREE].num_entries)
            provenance = _provenance(file, where) if "provenance" in trees else {}
    except InputError:
        raise
    except Exception as error:  # uproot raises whatever the damage leads to
        raise InputError(
            f"the results cannot be read ({type(error).__name__}: {_first_line(error)})",
            where=where,
            fix="Check that the file is complete; 'xec-deploy infer' continues a .part file.",
        ) from error
    return _results(where, columns, entries, provenance)


def _require_tree(trees: set[str], where: str) -> None:
    if RESULT_TREE not in trees:
        raise InputError(
            f"no tree '{RESULT_TREE}' in the file",
            where=where,
            fix="It must be an output of 'xec-deploy infer'.",
        )


def _results(
    where: str, columns: dict[str, NDArray[Any]], entries: int, provenance: Mapping[str, Any]
) -> Results:
    values = {name: columns.pop(name) for name in RESULT_NAMES if _scalar(columns, name)}
    sigmas = {
        name: columns.pop(f"{name}_sigma") for name in values if _scalar(columns, f"{name}_sigma")
    }
    conventional = {
        name: columns.pop(f"{name}_conv")
        for name in RESULT_NAMES
        if _scalar(columns, f"{name}_conv")
    }
    if not values:
        raise InputError(
            "no branch of reconstructed values",
            where=f"{where}, tree {RESULT_TREE}",
            fix=f"Expected at least one of: {', '.join(RESULT_NAMES)}.",
        )
    default = {"run": np.full(entries, -1), "event": np.arange(entries)}
    book = {name: columns.pop(name) for name in BOOKKEEPING if _scalar(columns, name)}
    return Results(
        path=where,
        values={name: array.astype(np.float64) for name, array in values.items()},
        sigmas={name: array.astype(np.float64) for name, array in sigmas.items()},
        conventional={name: array.astype(np.float64) for name, array in conventional.items()},
        kept=columns,
        run=book.get("run", default["run"]).astype(np.int64),
        event=book.get("event", default["event"]).astype(np.int64),
        status=book.get("status", np.zeros(entries)).astype(np.uint32),
        counts={
            name: book[name].astype(np.int64) for name in ("n_dead", "n_inpainted") if name in book
        },
        provenance=provenance,
    )


def _columns(tree: Any) -> dict[str, NDArray[Any]]:
    columns = {}
    for branch in tree.branches:
        layout = getattr(branch.interpretation, "to_dtype", None)
        if layout is None or np.prod(layout.shape, dtype=np.int64) > MAX_ELEMENTS:
            continue
        array = branch.array(library="np")
        columns[str(branch.name)] = array.astype(array.dtype.newbyteorder("="), copy=False)
    return columns


def _scalar(columns: Mapping[str, NDArray[Any]], name: str) -> bool:
    return name in columns and columns[name].ndim == 1


def _provenance(file: Any, where: str) -> Mapping[str, Any]:
    try:
        content = json.loads(str(file["provenance"]))
    except ValueError as error:
        raise InputError("the provenance is not valid JSON", where=where) from error
    return content if isinstance(content, dict) else {}


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), "no message")
