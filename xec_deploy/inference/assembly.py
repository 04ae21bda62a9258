"""The last step: rows in the part folder become one ROOT file under its name."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from xec_deploy.errors import InputError, OutputError
from xec_deploy.events import Column, NTupleWriter, ResultWriter
from xec_deploy.inference.spool import CONTINUE, Rows, writing
from xec_deploy.inference.status import Status
from xec_deploy.inference.styles import ResultStyle
from xec_deploy.inference.target import Piece, Target

__all__ = ["Assembled", "assemble"]

RESULT: Final = "result.root"


@dataclass
class Assembled:
    """What a pass over the rows of one input has found.

    Attributes
    ----------
    entries
        Rows.
    status_counts
        Events by `Status` name.
    """

    entries: int = 0
    status_counts: dict[str, int] = field(default_factory=dict)

    def add(self, rows: Rows) -> None:
        """Count."""
        self.entries += len(rows["status"])
        for flag in Status:
            found = int(np.count_nonzero(rows["status"] & flag))
            if found:
                name = flag.name or str(int(flag))
                self.status_counts[name] = self.status_counts.get(name, 0) + found


def assemble(
    target: Target,
    inputs: Sequence[tuple[Piece, ...]],
    columns: Mapping[str, Column],
    style: ResultStyle,
    *,
    format: str,  # noqa: A002 - the user's word for it
    provenance: Mapping[str, Any],
    look: Callable[[Piece, Rows], Any],
) -> list[Assembled]:
    """Write the rows of complete pieces to the target.

    Parameters
    ----------
    target
        The output; its folder must be locked and is removed at the end.
    inputs
        The pieces of each input.
    columns
        Columns of the rows.
    style
        Names in the file.
    format
        ``ttree`` or ``rntuple``.
    provenance
        What is written beside them.
    look
        Sees all rows on their way.

    Returns
    -------
    assembled
        For each input.

    Raises
    ------
    OutputError
        If the file cannot be written or has not all entries; the part folder stays.
    """
    part = target.folder / RESULT
    expected = sum(stop - start for piece in _all(inputs) for start, stop in [piece.entries])
    writer_of = NTupleWriter if format == "rntuple" else ResultWriter
    counted = [Assembled() for _ in inputs]
    try:
        with writer_of(part, style.columns, tree=style.tree) as writer:
            for found, pieces in zip(counted, inputs, strict=True):
                for piece in pieces:
                    for rows in piece.spool.segments():
                        found.add(rows)
                        look(piece, rows)
                        writer.extend(style.rows({name: rows[name] for name in columns}))
            writer.commit(provenance, expected_entries=expected)
    except (InputError, OutputError) as error:
        # Also where reading back fails what has just been written.
        raise OutputError(error.what, where=error.where, fix=CONTINUE) from error
    with writing(target.path):
        part.replace(target.path)
        _synchronise(target.path.parent)
    target.remove()
    return counted


def _all(inputs: Sequence[tuple[Piece, ...]]) -> Iterator[Piece]:
    return (piece for pieces in inputs for piece in pieces)


def _synchronise(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
