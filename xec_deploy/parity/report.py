"""The report: everything that was compared, judged by gates."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

from xec_deploy.gates import Gates
from xec_deploy.parity.macro import judge_macro
from xec_deploy.parity.measurement import Measurement
from xec_deploy.parity.metrics import compare_differences
from xec_deploy.parity.results import (
    BitComparison,
    Comparison,
    EventSet,
    MacroComparison,
    NotRun,
    Repeat,
)

__all__ = ["ParityReport", "judge"]


@dataclass(frozen=True)
class ParityReport:
    """Everything that was compared.

    Attributes
    ----------
    path
        The bundle.
    bundle
        Its name and hashes.
    gates
        The gates the verdicts are by.
    event_sets, comparisons, repeats, preprocessing, macro
        What was compared and what came out.
    not_run
        What could not run here, and why.
    provenance
        When and where it was measured, versions, the description of each engine.
    """

    path: str
    bundle: dict[str, str]
    gates: Gates
    event_sets: tuple[EventSet, ...]
    comparisons: tuple[Comparison, ...]
    preprocessing: tuple[BitComparison, ...]
    macro: tuple[MacroComparison, ...] = ()
    repeats: tuple[Repeat, ...] = ()
    not_run: tuple[NotRun, ...] = ()
    provenance: dict[str, Any] | None = None

    @property
    def gates_version(self) -> int:
        """Version of the gates."""
        return self.gates.version

    @property
    def passed(self) -> bool:
        """Whether there was something to compare and every gate is kept."""
        return (
            bool(self.comparisons)
            and all(part.passed for part in self.comparisons)
            and all(part.passed for part in self.repeats)
            and all(part.passed for part in self.preprocessing)
            and all(part.passed for part in self.macro)
            and not any(part.failed for part in self.not_run)
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON, with the verdicts and ratios derived from them."""
        return {
            "path": self.path,
            "bundle": self.bundle,
            "passed": self.passed,
            "gates_version": self.gates_version,
            "gates": self.gates.model_dump(mode="json"),
            "event_sets": [asdict(part) for part in self.event_sets],
            "comparisons": [
                asdict(part)
                | {
                    "relative_spread": part.relative_spread,
                    "relative_bias": part.relative_bias,
                    "passed": part.passed,
                }
                for part in self.comparisons
            ],
            "repeats": [
                asdict(part) | {"bit_equal": part.bit_equal, "passed": part.passed}
                for part in self.repeats
            ],
            "not_run": [asdict(part) for part in self.not_run],
            "preprocessing": [
                asdict(part) | {"passed": part.passed} for part in self.preprocessing
            ],
            "macro": [asdict(part) | {"passed": part.passed} for part in self.macro],
            "provenance": self.provenance or {},
        }


def judge(measurement: Measurement, gates: Gates) -> ParityReport:
    """Judge what was measured, now or before: the verdicts are those of ``gates``.

    Raises
    ------
    UsageError
        If the gates have none for a precision.
    """
    comparisons = [
        comparison
        for row in measurement.rows
        for events in measurement.event_sets
        for comparison in compare_differences(
            events.quantities,
            row.differences[events.facts.name],
            events.labels,
            engine=row.engine,
            version=row.version,
            device=row.device,
            precision=row.precision,
            event_set=events.facts.name,
            gate=gates.of(row.precision),
        )
    ]
    return ParityReport(
        path=measurement.path,
        bundle=measurement.bundle,
        gates=gates,
        event_sets=tuple(events.facts for events in measurement.event_sets),
        comparisons=tuple(comparisons),
        preprocessing=tuple(
            replace(part, allowed=gates.preprocessing) for part in measurement.preprocessing
        ),
        macro=() if measurement.macro is None else judge_macro(measurement.macro, gates.macro),
        repeats=tuple(
            replace(part, gate=gates.of_repeats(part.precision)) for part in measurement.repeats
        ),
        not_run=measurement.not_run,
        provenance={
            **measurement.provenance,
            "engines": [row.describe() for row in measurement.rows],
        },
    )
