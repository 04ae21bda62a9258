"""What a benchmark found."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

__all__ = ["BenchReport", "EngineReport", "Measurement", "OpClass"]


@dataclass(frozen=True)
class Measurement:
    """A rate.

    Attributes
    ----------
    batch, sessions, threads
        Events of a batch, batches at the same time, threads of each.
    events_per_s
        Of the fastest request.
    """

    batch: int
    sessions: int
    threads: int
    events_per_s: float


@dataclass(frozen=True)
class OpClass:
    """Share of an engine's time that a class of operators takes, and its ops of most time."""

    name: str
    share: float
    operators: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class EngineReport:
    """An engine in one precision.

    Attributes
    ----------
    backend, precision, version
        What ran.
    measurements
        Rates, the tuned settings first.
    ceiling_gflops
        Rate of a large matrix product in the same engine and precision [GFLOP/s].
    ceiling_share
        Share of it that the products of the network reach, all other work included; None where
        the ceiling is unknown.
    op_classes
        Where the time goes; empty if the engine does not say.
    error
        Why it must not be used: it does not reproduce the golden events, or cannot run at all.
    """

    backend: str
    precision: str
    version: str | None = None
    measurements: tuple[Measurement, ...] = ()
    ceiling_gflops: float | None = None
    ceiling_share: float | None = None
    op_classes: tuple[OpClass, ...] = ()
    error: str | None = None

    @property
    def best(self) -> Measurement | None:
        """The fastest settings."""
        return max(self.measurements, key=lambda item: item.events_per_s, default=None)


@dataclass(frozen=True)
class BenchReport:
    """Everything.

    Attributes
    ----------
    path, bundle
        What was measured: where it lies and its hashes.
    mflop
        Of the matrix products and convolutions of an event [MFLOP, two a multiply-add].
    machine
        Processor, cores granted, versions.
    engines
        One entry an engine and precision.
    stages
        Seconds of the stages of an inference of ``data``, and ``events_per_s`` of the whole.
    """

    path: str
    bundle: dict[str, str]
    mflop: float
    machine: dict[str, Any]
    engines: tuple[EngineReport, ...]
    stages: dict[str, float] = field(default_factory=dict)

    @property
    def fastest(self) -> EngineReport | None:
        """The fastest engine and precision of those that may be used."""
        able = [item for item in self.engines if item.best is not None and item.error is None]
        return max(able, key=lambda item: item.best.events_per_s if item.best else 0, default=None)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)
