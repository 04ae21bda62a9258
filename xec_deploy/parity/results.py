"""What parity measures; verdicts are derived from the figures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from xec_deploy.parity.events import EventLabel

__all__ = [
    "BitComparison",
    "Comparison",
    "EventSet",
    "MacroComparison",
    "NotRun",
    "Repeat",
    "RepeatKind",
    "WorstEvent",
]

RepeatKind = Literal["batch", "rebuild"]
"""Whether the batches were others, or the engine opened or built anew."""


@dataclass(frozen=True)
class EventSet:
    """Events that were compared.

    Attributes
    ----------
    name
        ``golden`` or ``data``.
    sources
        The files they come from.
    checksums
        Of these files, see :func:`xec_deploy.events.file_checksum`; None for one behind a URL.
    events
        How many.
    reference
        What the engines are compared with.
    reference_error
        Largest difference of that reference from the golden events [detector resolutions]; None
        where the golden events are the reference.
    """

    name: str
    sources: tuple[str, ...]
    checksums: tuple[str | None, ...]
    events: int
    reference: str
    reference_error: float | None = None


@dataclass(frozen=True)
class WorstEvent:
    """One of the events that differ most.

    Attributes
    ----------
    source, entry
        File and number of the entry in it.
    run, event
        Their numbers; None for a golden event, which has none.
    difference
        Engine less reference, in the unit of the quantity.
    """

    source: str
    entry: int
    run: int | None
    event: int | None
    difference: float

    @classmethod
    def at(cls, label: EventLabel, difference: float) -> WorstEvent:
        """Return the event with this label."""
        return cls(label.source, label.entry, label.run, label.event, difference)


@dataclass(frozen=True)
class Comparison:
    """One quantity of one engine on one set of events.

    Attributes
    ----------
    engine, version, device, precision
        What ran.
    event_set
        Name of the :class:`EventSet`.
    quantity, unit
        The quantity; unit None for a pure number.
    resolution
        The detector's, in ``unit``: the yardstick.
    assumed_resolution
        Whether the quantity has none and a scale stands for it, such that the fp32 gate is a
        relative difference of 1e-5.
    events
        Events compared: those finite in both.
    one_sided
        Events finite in only one of the two.
    bias
        Mean of engine less reference.
    p50, p99, maximum
        Quantiles of the absolute difference.
    spread
        Standard deviation of the difference.
    gate
        Largest spread and bias allowed [detector resolutions].
    worst
        The events that differ most, worst first.
    """

    engine: str
    version: str
    device: str
    precision: str
    event_set: str
    quantity: str
    unit: str | None
    resolution: float
    assumed_resolution: bool
    events: int
    one_sided: int
    bias: float
    p50: float
    p99: float
    maximum: float
    spread: float
    gate: float
    worst: tuple[WorstEvent, ...]

    @property
    def relative_spread(self) -> float:
        """sigma(difference) / sigma(detector)."""
        return self.spread / self.resolution

    @property
    def relative_bias(self) -> float:
        """Bias in resolutions of the detector."""
        return self.bias / self.resolution

    @property
    def passed(self) -> bool:
        """Whether spread and bias are within the gate and no event is finite in one only."""
        return (
            self.events > 0
            and self.one_sided == 0
            and self.relative_spread <= self.gate
            and abs(self.relative_bias) <= self.gate
        )


@dataclass(frozen=True)
class Repeat:
    """The same events once more, otherwise arranged or through an engine made anew.

    Attributes
    ----------
    engine, version, device, precision
        What ran.
    kind, variant
        What was other than in the run that is compared with the reference, and how.
    events
        Events compared.
    other_bits
        Those with an output of other bits.
    one_sided
        Those with a number that is finite in only one of the two.
    largest
        Largest difference [detector resolutions].
    quantity, worst
        Where it is: the difference there in the unit of the quantity; None where no bit differs.
    gate
        Largest difference allowed [detector resolutions].
    """

    engine: str
    version: str
    device: str
    precision: str
    kind: RepeatKind
    variant: str
    events: int
    other_bits: int
    one_sided: int
    largest: float
    quantity: str | None
    worst: WorstEvent | None
    gate: float

    @property
    def bit_equal(self) -> bool:
        """Whether every event has the same bits."""
        return self.other_bits == 0

    @property
    def passed(self) -> bool:
        """Whether no event differs from itself by more than the gate."""
        return self.events > 0 and self.one_sided == 0 and self.largest <= self.gate


@dataclass(frozen=True)
class NotRun:
    """A row that is missing, and why.

    Attributes
    ----------
    engine, device, precision
        What did not run; precision None for all of an engine.
    reason
        One sentence.
    failed
        Whether it was loaded and then failed on events, which no report passes with.
    """

    engine: str
    device: str
    precision: str | None
    reason: str
    failed: bool = False


@dataclass(frozen=True)
class BitComparison:
    """The C++ preprocessing against Python's, bit by bit.

    Attributes
    ----------
    inputs
        What went in.
    values
        Numbers compared.
    different
        Those with other bits.
    allowed
        How many may differ.
    first
        Event, channel and component (0 npho, 1 time) of the first that differs.
    """

    inputs: str
    values: int
    different: int
    allowed: int
    first: tuple[int, int, int] | None

    @property
    def passed(self) -> bool:
        """Whether no more values differ than may."""
        return self.different <= self.allowed


@dataclass(frozen=True)
class MacroComparison:
    """One quantity of the C++ fit against the experiment's macro.

    Attributes
    ----------
    quantity, unit
        What is compared; unit None for a ratio.
    values
        How many.
    tolerance
        Largest difference allowed, in ``unit``.
    within
        Values within it.
    better
        Others that are at least as good: their fit's chi-square is not above the macro's, or the
        value is too small to count.
    failed
        The rest.
    p50, p99, maximum
        Quantiles of the absolute difference.
    """

    quantity: str
    unit: str | None
    values: int
    tolerance: float
    within: int
    better: int
    failed: int
    p50: float
    p99: float
    maximum: float

    @property
    def passed(self) -> bool:
        """Whether there was something to compare and nothing failed."""
        return self.values > 0 and self.failed == 0
