"""What checks found: frozen results that serialise to JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

from xec_deploy.checks.registry import CHECKS, Finding

__all__ = ["SCHEMA_VERSION", "CheckReport", "CheckResult", "GraphReport"]

SCHEMA_VERSION: Final = 1
"""Goes up when a key of the JSON changes its meaning or goes."""

Status = Literal["passed", "failed", "warned", "skipped"]


@dataclass(frozen=True)
class CheckResult:
    """One check on one graph.

    Attributes
    ----------
    id
        Of the check.
    findings
        What is wrong.
    skipped
        Why the check did not apply or could not run; None if it ran.
    """

    id: str
    findings: tuple[Finding, ...] = ()
    skipped: str | None = None

    @property
    def status(self) -> Status:
        """The verdict; findings of a warning do not fail a graph."""
        if self.skipped is not None:
            return "skipped"
        if not self.findings:
            return "passed"
        return "failed" if CHECKS[self.id].severity == "error" else "warned"

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        entry = CHECKS[self.id]
        return {
            "id": self.id,
            "title": entry.title,
            "severity": entry.severity,
            "status": self.status,
            "skipped": self.skipped,
            "findings": [asdict(finding) for finding in self.findings],
        }


@dataclass(frozen=True)
class GraphReport:
    """All checks on one graph."""

    name: str
    file: str
    results: tuple[CheckResult, ...]

    @property
    def passed(self) -> bool:
        """Whether no check found an error."""
        return all(result.status != "failed" for result in self.results)

    def result(self, check_id: str) -> CheckResult:
        """Return the result of one check."""
        return next(result for result in self.results if result.id == check_id)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "name": self.name,
            "file": self.file,
            "passed": self.passed,
            "checks": [result.to_dict() for result in self.results],
        }


@dataclass(frozen=True)
class CheckReport:
    """All graphs of a bundle, or one ONNX file."""

    path: str
    graphs: tuple[GraphReport, ...]

    @property
    def passed(self) -> bool:
        """Whether no check found an error in any graph."""
        return all(graph.passed for graph in self.graphs)

    @property
    def errors(self) -> tuple[tuple[GraphReport, CheckResult], ...]:
        """The failed checks."""
        return tuple(
            (graph, result)
            for graph in self.graphs
            for result in graph.results
            if result.status == "failed"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "schema": SCHEMA_VERSION,
            "path": self.path,
            "passed": self.passed,
            "graphs": [graph.to_dict() for graph in self.graphs],
        }
