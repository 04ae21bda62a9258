"""What the events of a training looked like, to tell when others do not.

Four numbers of an event say where it lies: how much light, how much in the brightest channel, how
many channels have a time, and what their mean time is.  Their range over training events travels
with the model (``training.input_range`` of the manifest).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from xec_deploy.normalisation.definition import channel_validity

__all__ = ["UNITS", "Drift", "InputRange", "event_quantities", "measure_input_range"]

Quantities = dict[str, NDArray[np.float64]]

UNITS: Final = {"light": "photons", "brightest": "photons", "timed": "channels", "mean_time": "ns"}
"""The quantities and their units."""
MARGIN: Final = 0.05
"""Part of the width of the range by which it is widened: a sample does not reach the ends."""

STEPS: Final = 2**20
"""Sums are in whole parts of a standard deviation: in any order and portions they are the same."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class QuantityRange(_Record):
    """Smallest and largest value, mean and standard deviation over training events."""

    low: float
    high: float
    mean: float
    sigma: float


class InputRange(_Record):
    """Range of each quantity over some training events."""

    events: int = Field(ge=1)
    quantities: dict[str, QuantityRange]

    def outside(self, quantities: Mapping[str, NDArray[np.float64]]) -> NDArray[np.bool_]:
        """Tell which events (n,) lie beyond the range of any quantity, by more than a margin.

        A quantity that an event does not have (NaN) says nothing.
        """
        beyond = np.zeros(len(next(iter(quantities.values()))), bool)
        for name, known in self.quantities.items():
            margin = MARGIN * (known.high - known.low)
            values = quantities[name]
            beyond |= (values < known.low - margin) | (values > known.high + margin)
        return beyond

    def counts(self, quantities: Mapping[str, NDArray[np.float64]]) -> dict[str, int]:
        """Return what :class:`Drift` adds up.

        Events, those outside, and of each quantity how many events have it and the sum of their
        distances from the mean of the training, in parts of its standard deviation.
        """
        found = {
            "events": len(next(iter(quantities.values()))),
            "outside": int(self.outside(quantities).sum()),
        }
        for name, known in self.quantities.items():
            values = quantities[name]
            finite = values[np.isfinite(values)]
            steps = np.rint((finite - known.mean) / (known.sigma or 1.0) * STEPS)
            found[f"{name} known"] = len(finite)
            # Python's integers: a channel with 1e9 photons is more than 64 bits hold.
            found[f"{name} steps"] = sum(map(int, steps.tolist()))
        return found


def event_quantities(
    npho: NDArray[np.float32],
    time: NDArray[np.float32],
    dead: NDArray[np.bool_],
    npho_threshold: float,
) -> Quantities:
    """Return the quantities of events, (n,) each, see :data:`UNITS`.

    Parameters
    ----------
    npho, time, dead
        (n, 4760) photons, seconds, flags; invalid values count as dead.
    npho_threshold
        Photons from which on a channel has a time.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        valid, timed = channel_validity(npho, time, dead, npho_threshold)
        photons = np.where(valid, npho, np.float32(0.0))
        count = timed.sum(axis=1)
        summed = np.where(timed, time, np.float32(0.0)).sum(axis=1, dtype=np.float64)
        mean = np.where(count > 0, summed / np.maximum(count, 1), np.nan)
    return {
        "light": photons.sum(axis=1, dtype=np.float64),
        "brightest": photons.max(axis=1).astype(np.float64),
        "timed": count.astype(np.float64),
        "mean_time": 1e9 * mean,
    }


@dataclass
class _Running:
    count: int = 0
    total: float = 0.0
    squares: float = 0.0
    low: float = np.inf
    high: float = -np.inf

    def add(self, values: NDArray[np.float64]) -> None:
        finite = values[np.isfinite(values)]
        if len(finite):
            self.count += len(finite)
            self.total += float(finite.sum())
            self.squares += float((finite**2).sum())
            self.low = min(self.low, float(finite.min()))
            self.high = max(self.high, float(finite.max()))

    @property
    def mean(self) -> float:
        return self.total / self.count

    @property
    def sigma(self) -> float:
        return float(np.sqrt(max(self.squares / self.count - self.mean**2, 0.0)))


def measure_input_range(
    batches: Iterable[tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]],
    npho_threshold: float,
) -> InputRange | None:
    """Measure the range of the quantities over events; None if there are none.

    Parameters
    ----------
    batches
        ``npho``, ``time`` and ``dead`` as of :func:`event_quantities`.
    npho_threshold
        As there.
    """
    running = {name: _Running() for name in UNITS}
    events = 0
    for npho, time, dead in batches:
        events += len(npho)
        for name, values in event_quantities(npho, time, dead, npho_threshold).items():
            running[name].add(values)
    if not events:
        return None
    return InputRange(
        events=events,
        quantities={
            name: QuantityRange(low=sum_.low, high=sum_.high, mean=sum_.mean, sigma=sum_.sigma)
            for name, sum_ in running.items()
            if sum_.count
        },
    )


@dataclass
class Drift:
    """How the events of a run compare with those of the training.

    Attributes
    ----------
    known
        What those were like.
    counts
        Sums of :meth:`InputRange.counts`.
    """

    known: InputRange
    counts: Counter[str] = field(default_factory=Counter)

    def add(self, counts: Mapping[str, int]) -> None:
        """Take in the counts of some events."""
        self.counts.update(counts)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values: events, those outside, and mean and shift of each quantity.

        ``shift`` is the difference of the means in standard deviations of the training events.
        """
        found: dict[str, Any] = {}
        for name, known in self.known.quantities.items():
            count = self.counts[f"{name} known"]
            if count:
                shift = self.counts[f"{name} steps"] / (count * STEPS)
                found[name] = {
                    "mean": known.mean + shift * (known.sigma or 1.0),
                    "training_mean": known.mean,
                    "shift": shift if known.sigma else None,
                    "unit": UNITS.get(name),
                }
        return {
            "events": self.counts["events"],
            "outside": self.counts["outside"],
            "quantities": found,
        }
