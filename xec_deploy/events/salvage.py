"""Rows that an interrupted writer left in its part file."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import uproot
from numpy.typing import NDArray

from xec_deploy.errors import InputError
from xec_deploy.events.column import Column
from xec_deploy.events.failures import file_boundary
from xec_deploy.events.treewriter import PART_SUFFIX

__all__ = ["salvage_rows"]

logger = logging.getLogger(__name__)


def salvage_rows(
    path: str | os.PathLike[str], columns: Mapping[str, Column], *, tree: str = "xec"
) -> dict[str, NDArray[Any]]:
    """Read the complete rows of ``PATH.part``, to be given to a new writer.

    The caller must know from elsewhere (a ledger) that they come from the same job.  Results are
    small, about 100 bytes an event; the rows are read at once.

    Parameters
    ----------
    path
        The file the writer was to make.
    columns, tree
        As the writer had them.

    Returns
    -------
    rows
        One array (n, ...) for each column, native byte order; n is 0 if there is no part file,
        it is damaged, or it has other columns.
    """
    part = os.fspath(path) + PART_SUFFIX
    nothing = {
        name: np.empty((0, *column.shape), np.dtype(column.dtype))
        for name, column in columns.items()
    }
    if not Path(part).is_file():
        return nothing
    try:
        with file_boundary(part, "salvaging"), uproot.open({part: None}) as file:
            found = {
                branch.name: branch.array(library="np", array_cache=None)
                for branch in file[tree].branches
            }
    except InputError as error:
        logger.warning("%s starts anew: %s", os.fspath(path), error)
        return nothing
    count = min((len(values) for values in found.values()), default=0)
    rows = {name: values[:count] for name, values in found.items()}
    if {name: (values.dtype, values.shape[1:]) for name, values in rows.items()} != {
        name: (values.dtype, values.shape[1:]) for name, values in nothing.items()
    }:
        logger.warning("%s starts anew: %s has other columns", os.fspath(path), part)
        return nothing
    return {name: rows[name] for name in columns}
