"""What the events of finished results are like: seen twice, or unlike those of the training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from xec_deploy.inference.duplicates import DuplicateFinder, SeenEvents
from xec_deploy.inference.spool import Rows
from xec_deploy.inference.target import Piece
from xec_deploy.normalisation.input_range import Drift, InputRange

__all__ = ["PackedStatistics", "RunStatistics"]


@dataclass(frozen=True)
class PackedStatistics:
    """Statistics of an input on its way between machines.

    Attributes
    ----------
    counts
        What was counted of its events.
    seen
        Which events they are.
    """

    counts: dict[str, int]
    seen: SeenEvents


@dataclass
class RunStatistics:
    """Statistics over results, of this process or of many.

    Attributes
    ----------
    drift
        Comparison with the events of the training; None if the bundle does not know them.
    duplicates
        Events that came more than once.
    """

    drift: Drift | None
    duplicates: DuplicateFinder = field(default_factory=DuplicateFinder)

    @classmethod
    def against(cls, known: InputRange | None) -> RunStatistics:
        """Begin; ``known`` is what the events of the training were like."""
        return cls(None if known is None else Drift(known))

    def look(self, piece: Piece, rows: Rows) -> None:
        """See rows of a finished result."""
        self.duplicates.look(piece, rows)

    def count(self, counts: Mapping[str, int]) -> None:
        """Take in what was counted of the events of a finished result."""
        if self.drift is not None:
            self.drift.add(counts)

    def packed(self) -> PackedStatistics:
        """Return what `merge` needs of them."""
        counts = {} if self.drift is None else dict(self.drift.counts)
        return PackedStatistics(counts, self.duplicates.packed())

    def merge(self, other: PackedStatistics) -> None:
        """Take in those of inputs that come after the ones so far."""
        self.count(other.counts)
        self.duplicates.merge(other.seen)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values: ``duplicates`` and ``drift`` of a summary."""
        return {
            "duplicates": self.duplicates.to_dict(),
            "drift": {} if self.drift is None else self.drift.to_dict(),
        }

    def warning(self) -> str | None:
        """Return a sentence on duplicates, if there are any."""
        if not self.duplicates.count:
            return None
        count = self.duplicates.count
        run, event, path = self.duplicates.examples[0]
        come = "event comes" if count == 1 else "events come"
        return f"{count} {come} more than once, first run {run} event {event} in {path}"
