"""What became of the inputs."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from xec_deploy.inference.statistics import PackedStatistics

__all__ = ["FileResult", "InferenceSummary", "Outcome", "RangeResult"]

Outcome = Literal["done", "skipped", "failed", "unfinished"]


@dataclass(frozen=True)
class FileResult:
    """What became of one input file.

    Attributes
    ----------
    input, output
        The files; no output if the input failed or has no entry that is wanted.
    outcome
        ``done``; ``skipped``: finished before, or nothing is wanted of it; ``failed``: see
        ``error``; ``unfinished``: the work was stopped, a rerun continues it.
    entries
        Entries in the result, or done so far.
    resumed
        Those of them that an earlier run had made.
    seconds
        From opening the input to the named result.
    status_counts
        Events by `Status` name.
    error
        A sentence for the user.
    """

    input: str
    output: str | None
    outcome: Outcome
    entries: int = 0
    seconds: float = 0.0
    status_counts: dict[str, int] = field(default_factory=dict)
    error: str | None = None
    resumed: int = 0


@dataclass(frozen=True)
class InferenceSummary:
    """What became of all input files.

    Attributes
    ----------
    files
        In the order of the inputs.
    engine
        What ran: backend, precision, batch, threads, source of dead channels.
    stages
        Seconds each stage was at work (``read``, ``infer``, ``write``), ``starved``: that
        inferring waited for reading, and ``total``.
    duplicates
        Events of finished results that came more than once: ``count``, ``examples`` (run, event,
        file), ``complete``.
    advice
        What would make the same work faster.
    drift
        How the events of finished results compare with those of the training, see
        :class:`xec_deploy.normalisation.input_range.Drift`; empty if the bundle does not know
        them.
    packed
        What duplicates and drift of one input are made of, to be added up with others.
    """

    files: tuple[FileResult, ...]
    engine: dict[str, Any] = field(default_factory=dict)
    stages: dict[str, float] = field(default_factory=dict)
    duplicates: dict[str, Any] = field(default_factory=dict)
    advice: tuple[str, ...] = ()
    drift: dict[str, Any] = field(default_factory=dict)
    packed: PackedStatistics | None = field(default=None, repr=False, compare=False)

    def of(self, outcome: Outcome) -> tuple[FileResult, ...]:
        """Return the files with an outcome."""
        return tuple(file for file in self.files if file.outcome == outcome)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(replace(self, packed=None), dict_factory=_without_packed)


def _without_packed(items: list[tuple[str, Any]]) -> dict[str, Any]:
    return {name: value for name, value in items if name != "packed"}


@dataclass(frozen=True)
class RangeResult:
    """An entry range that is complete in the part folder of its output.

    Attributes
    ----------
    input, output
        The files.
    entries
        The range.
    resumed
        Entries of it that an earlier run had made.
    seconds
        Time taken.
    """

    input: str
    output: str
    entries: tuple[int, int]
    resumed: int
    seconds: float
