"""A report in one line a row: engine, device and precision."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from xec_deploy.parity.report import ParityReport
from xec_deploy.parity.results import Comparison, NotRun, Repeat, RepeatKind

__all__ = ["Missing", "RowSummary", "missing_rows", "summarise"]


@dataclass(frozen=True)
class RowSummary:
    """An engine in one precision, over all quantities and sets of events.

    Attributes
    ----------
    engine, version, device, precision
        What ran.
    comparisons, repeats
        Its parts of the report.
    """

    engine: str
    version: str
    device: str
    precision: str
    comparisons: tuple[Comparison, ...]
    repeats: tuple[Repeat, ...]

    @property
    def gate(self) -> float:
        """Largest spread and bias allowed [detector resolutions]."""
        return self.comparisons[0].gate

    @property
    def spread(self) -> Comparison:
        """The quantity with the largest relative spread."""
        return max(self.comparisons, key=lambda part: part.relative_spread)

    @property
    def bias(self) -> Comparison:
        """The quantity with the largest relative bias."""
        return max(self.comparisons, key=lambda part: abs(part.relative_bias))

    @property
    def maximum(self) -> Comparison:
        """The quantity with the largest difference of an event."""
        return max(self.comparisons, key=lambda part: part.maximum / part.resolution)

    def repeat(self, kind: RepeatKind) -> Repeat | None:
        """Return the repetition of a kind that differs most; None if there was none."""
        found = [part for part in self.repeats if part.kind == kind]
        return max(found, key=lambda part: (part.largest, part.other_bits), default=None)

    @property
    def passed(self) -> bool:
        """Whether every gate is kept."""
        compared = all(part.passed for part in self.comparisons)
        return compared and all(part.passed for part in self.repeats)


@dataclass(frozen=True)
class Missing:
    """Rows of one engine that are missing for one reason."""

    engine: str
    device: str
    precisions: tuple[str, ...]
    reason: str
    failed: bool

    def __str__(self) -> str:
        names = f" {', '.join(self.precisions)}" if self.precisions else ""
        return f"{self.engine} on {self.device}{names}: {self.reason}"


def summarise(report: ParityReport) -> tuple[RowSummary, ...]:
    """Return the rows in the order in which they were compared."""
    keys = dict.fromkeys(_key(part) for part in report.comparisons)
    return tuple(
        RowSummary(
            *key,
            comparisons=tuple(part for part in report.comparisons if _key(part) == key),
            repeats=tuple(part for part in report.repeats if _key(part) == key),
        )
        for key in keys
    )


def missing_rows(parts: Iterable[NotRun]) -> tuple[Missing, ...]:
    """Join missing rows that differ in their precision alone."""
    joined: dict[tuple[str, str, str, bool], list[str]] = {}
    for part in parts:
        names = joined.setdefault((part.engine, part.device, part.reason, part.failed), [])
        if part.precision is not None:
            names.append(part.precision)
    return tuple(
        Missing(engine, device, tuple(names), reason, failed)
        for (engine, device, reason, failed), names in joined.items()
    )


def _key(part: Comparison | Repeat) -> tuple[str, str, str, str]:
    return part.engine, part.version, part.device, part.precision
