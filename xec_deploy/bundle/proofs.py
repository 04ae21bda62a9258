"""What parity found for a bundle, kept beside its graphs: ``parity.json``.

Figures are kept, verdicts derived: a change of the gates needs no new measurement.  The file is no
part of the bundle's identity, for results do not depend on it, and each proof names the graph it
is of.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from xec_deploy.errors import BundleError, OutputError
from xec_deploy.gates import Gates
from xec_deploy.whole_file import write_whole

__all__ = ["PROOFS_FILE", "Figure", "Proof", "read_proofs", "record_proofs"]

PROOFS_FILE: Final = "parity.json"
MEASURED: Final = "data"
"""Name of the set of events that are neither golden nor made up."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Figure(_Record):
    """One quantity on one set of events; differences in detector resolutions."""

    event_set: str
    quantity: str
    events: int
    one_sided: int
    """Events that are a finite number in only one of the two."""
    spread: float
    bias: float


class Proof(_Record):
    """An engine in one precision, as it was measured."""

    engine: str
    version: str
    device: str
    """``cpu`` or ``cuda``."""
    arithmetic: str
    """Of the machine, see :func:`xec_deploy.backends.cores.arithmetic_of`."""
    precision: str
    graph_sha256: str
    """Canonical hash of the graph."""
    figures: tuple[Figure, ...]
    repeats: float | None
    """Largest difference of an event from itself; None if not looked for, or not a number."""
    measured: dict[str, Any] = {}
    """When, and on which files."""

    @property
    def key(self) -> tuple[str, ...]:
        """What a proof is of: another of the same key takes its place."""
        return (*self.subject, self.version, self.arithmetic)

    @property
    def subject(self) -> tuple[str, str, str, str]:
        """Engine, device, precision and graph."""
        return self.engine, self.device, self.precision, self.graph_sha256

    @property
    def events(self) -> int:
        """Measured events; 0 where only golden ones were compared."""
        return max((f.events for f in self.figures if f.event_set == MEASURED), default=0)

    @property
    def worst(self) -> Figure:
        """The quantity nearest to the gate, or farthest beyond."""
        return max(self.figures, key=lambda f: max(f.spread, abs(f.bias)))

    def failure(self, gates: Gates) -> str | None:
        """Return which gate is not kept; None if all are."""
        gate = gates.of(self.precision)
        for figure in self.figures:
            if figure.one_sided or not figure.events:
                return f"its parity failed: {figure.quantity} is not always a number"
        beyond = [
            (value, name, figure.quantity)
            for figure in self.figures
            for name, value in (("spread", figure.spread), ("bias", abs(figure.bias)))
            if not value <= gate
        ]
        if beyond:
            value, name, quantity = max(beyond)
            return (
                f"its parity failed: {name} of {quantity} {value:.2g} sigma, the gate is {gate:g}"
            )
        if self.repeats is not None and not self.repeats <= gates.of_repeats(self.precision):
            return f"its parity failed: an event differs from itself by {self.repeats:.2g} sigma"
        return None

    def gap(self, gates: Gates) -> str | None:
        """Return what was not looked at, so that it may not be taken unasked; None for nothing."""
        if self.repeats is None:
            return "its parity is not known in other batches and through engines opened again"
        if self.events < gates.auto_events:
            return (
                f"its parity is known for {self.events} measured events, needed are "
                f"{gates.auto_events}"
            )
        return None


class _File(_Record):
    format_version: Literal[1] = 1
    proofs: tuple[Proof, ...]


def read_proofs(folder: Path) -> tuple[Proof, ...]:
    """Return the proofs in a bundle's folder, none where there is no such file.

    Raises
    ------
    BundleError
        If it is damaged.
    """
    path = folder / PROOFS_FILE
    if not path.is_file():
        return ()
    try:
        return _File.model_validate_json(path.read_text(encoding="utf-8")).proofs
    except (OSError, UnicodeDecodeError, ValidationError) as error:
        raise BundleError(
            "the record of parity is damaged",
            where=str(path),
            fix="Remove it and record again: xec-deploy parity BUNDLE --data EVENTS --record.",
        ) from error


def record_proofs(folder: Path, proofs: Sequence[Proof], graphs: Iterable[str]) -> Path:
    """Add proofs to a bundle's folder; those of the same key and of graphs that have gone, go.

    Parameters
    ----------
    folder
        The bundle.
    proofs
        New ones.
    graphs
        Canonical hashes of the graphs the bundle has.

    Raises
    ------
    OutputError
        If the folder cannot be written.
    BundleError
        If there is a damaged record.
    """
    present = set(graphs)
    fresh = {proof.key for proof in proofs}
    kept = [
        proof
        for proof in read_proofs(folder)
        if proof.key not in fresh and proof.graph_sha256 in present
    ]
    content = _File(proofs=tuple(sorted((*kept, *proofs), key=lambda proof: proof.key)))
    path = folder / PROOFS_FILE
    try:
        write_whole(path, (content.model_dump_json(indent=1) + "\n").encode(), sync=True)
    except OSError as error:
        raise OutputError(
            f"the record of parity cannot be written ({error.strerror})",
            where=str(path),
            fix="Copy the bundle to a place where you may write.",
        ) from error
    return path
