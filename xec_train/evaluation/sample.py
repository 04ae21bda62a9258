"""From a stream of events to what is kept of them: truth and estimates, some numbers an event."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from xec_deploy.detector import constants as c
from xec_deploy.errors import InputError, UsageError
from xec_deploy.simulation import SimulationConfig
from xec_train.data import RawBatch
from xec_train.evaluation.dead import DeadPattern, dead_ranks
from xec_train.evaluation.limits import energy_limit, time_limit
from xec_train.evaluation.methods import Estimates, Method
from xec_train.evaluation.quantities import truth_names

__all__ = ["Condition", "Sample", "collect"]

FloatArray = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Condition:
    """The estimates of all events with some share of channels added to the dead ones.

    Attributes
    ----------
    fraction
        Share of all channels that was made dead beside those of the files.
    n_dead
        (n,) dead channels, all together.
    estimates
        By method.
    limits
        Least possible sigma of ``energy`` [%] and ``timing`` [ps], (n,); empty if unknown.
    """

    fraction: float
    n_dead: NDArray[np.int32]
    estimates: Mapping[str, Estimates]
    limits: Mapping[str, FloatArray]

    def with_method(self, name: str, estimates: Estimates) -> Condition:
        """Return this with one more method."""
        return replace(self, estimates={**self.estimates, name: estimates})


@dataclass(frozen=True, eq=False)
class Sample:
    """What is kept of n events.

    Attributes
    ----------
    run, event
        (n,) int64.
    truth
        (n,) float32 by name, in the units of the result branches.
    conditions
        First the events as they are, then with more dead channels, ascending.
    """

    run: NDArray[np.int64]
    event: NDArray[np.int64]
    truth: Mapping[str, FloatArray]
    conditions: tuple[Condition, ...]

    def __len__(self) -> int:
        return len(self.run)

    @property
    def base(self) -> Condition:
        """The events as they are."""
        return self.conditions[0]

    def fiducial(self) -> NDArray[np.bool_]:
        """Return which events (n,) truly convert in the fiducial volume; all if unknown."""
        inside = np.ones(len(self), dtype=np.bool_)
        for name, limit in (("u", c.FIDUCIAL_U), ("v", c.FIDUCIAL_V), ("w", c.FIDUCIAL_W)):
            if name in self.truth:
                low = 0.0 if name == "w" else -limit
                inside &= (self.truth[name] > low) & (self.truth[name] < limit)
        return inside


@dataclass
class _Collected:
    """Arrays of each batch, joined at the end."""

    parts: dict[tuple[Any, ...], list[NDArray[Any]]] = field(default_factory=dict)

    def add(self, key: tuple[Any, ...], values: NDArray[Any]) -> None:
        # A copy: a view of a batch's array would keep all of it.
        self.parts.setdefault(key, []).append(np.array(values))

    def take(self, *prefix: Any) -> dict[str, NDArray[Any]]:
        """Join what was added under a prefix, by the last element of the key."""
        size = len(prefix)
        return {
            key[size]: np.concatenate(parts)
            for key, parts in self.parts.items()
            if len(key) == size + 1 and key[:size] == prefix
        }


def collect(
    stream: Iterable[RawBatch],
    methods: Sequence[Method],
    *,
    dead_fractions: Sequence[float] = (),
    pattern: DeadPattern = "channels",
    simulation: SimulationConfig | None = None,
    max_events: int | None = None,
    progress: Callable[[int], Any] | None = None,
) -> Sample:
    """Run all methods over a stream; memory is a batch and some hundred bytes an event.

    Parameters
    ----------
    stream
        Raw events with truth; ``run`` and ``event`` are counted if absent.
    methods
        Distinct names.
    dead_fractions
        Shares of all channels to make dead beside those that are, 0 to 1; the events as they are
        come first in any case.
    pattern
        Whether single channels or whole boards go.
    simulation
        Parameters for the limits.
    max_events
        Stop after so many.
    progress
        Called with the number of events of each batch.

    Raises
    ------
    InputError
        If the stream holds no events.
    UsageError
        If two methods have one name or a fraction is not in [0, 1).
    """
    names = [method.name for method in methods]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"two methods are called {name!r}", fix="Give each its own name.")
    for fraction in dead_fractions:
        if not 0 <= fraction < 1:
            raise UsageError(f"the dead fraction {fraction} is not in [0, 1)")
    fractions = (0.0, *sorted({float(f) for f in dead_fractions} - {0.0}))
    found, done = _Collected(), 0
    for given in stream:
        raw = given.to(torch.device("cpu"))
        if max_events is not None:
            raw = raw.take(slice(max_events - done))
        if len(raw) == 0:
            break
        raw = _numbered(raw, done)
        _add_batch(found, raw, methods, fractions, pattern, simulation)
        done += len(raw)
        if progress:
            progress(len(raw))
    if done == 0:
        raise InputError("there are no events to evaluate")
    numbers = found.take("number")
    return Sample(
        run=numbers["run"],
        event=numbers["event"],
        truth=found.take("truth"),
        conditions=tuple(_condition(found, fraction, names) for fraction in fractions),
    )


def _add_batch(
    found: _Collected,
    raw: RawBatch,
    methods: Sequence[Method],
    fractions: Sequence[float],
    pattern: DeadPattern,
    simulation: SimulationConfig | None,
) -> None:
    assert raw.run is not None  # noqa: S101 - numbered above
    assert raw.event is not None  # noqa: S101
    run, event = raw.run.numpy(), raw.event.numpy()
    found.add(("number", "run"), run)
    found.add(("number", "event"), event)
    for task, target in raw.targets.items():
        for index, name in enumerate(truth_names(task)):
            found.add(("truth", name), target[:, index].float().numpy())
    ranks = dead_ranks(run, event, pattern=pattern) if len(fractions) > 1 else None
    for fraction in fractions:
        batch = raw
        if ranks is not None and fraction > 0:
            batch = replace(raw, dead=raw.dead | torch.from_numpy(ranks < fraction))
        dead = batch.dead.numpy()
        found.add((fraction, "n_dead"), dead.sum(axis=1).astype(np.int32))
        if simulation is not None:
            npho, time = batch.npho.numpy(), batch.time.numpy()
            limits = {
                "energy": energy_limit(simulation, npho, dead),
                "timing": time_limit(simulation, npho, time, dead),
            }
            for name, limit in limits.items():
                found.add((fraction, "limit", name), limit.astype(np.float32))
        for method in methods:
            estimates = method.estimate(batch)
            for part, arrays in (("value", estimates.values), ("sigma", estimates.sigmas)):
                for name, values in arrays.items():
                    found.add((fraction, method.name, part, name), values)


def _condition(found: _Collected, fraction: float, methods: Sequence[str]) -> Condition:
    return Condition(
        fraction=fraction,
        n_dead=found.take(fraction)["n_dead"],
        estimates={
            name: Estimates(
                found.take(fraction, name, "value"), found.take(fraction, name, "sigma")
            )
            for name in methods
        },
        limits=found.take(fraction, "limit"),
    )


def _numbered(raw: RawBatch, start: int) -> RawBatch:
    count = torch.arange(start, start + len(raw))
    return replace(
        raw,
        run=torch.full_like(count, -1) if raw.run is None else raw.run,
        event=count if raw.event is None else raw.event,
    )
