"""The same events once more: in other batches, at other places, through engines made anew."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from xec_deploy.backends import RunOptions, create_backend
from xec_deploy.bundle import Bundle
from xec_deploy.errors import XecError
from xec_deploy.parity.engines import Subject, Wanted, open_subject
from xec_deploy.parity.events import ParityEvents
from xec_deploy.parity.metrics import Outputs, Quantity, differences
from xec_deploy.parity.rebuild import rebuild_engine
from xec_deploy.parity.reference import Run
from xec_deploy.parity.results import NotRun, Repeat, RepeatKind, WorstEvent

__all__ = ["BATCH", "REPEATED_EVENTS", "Base", "repeat_batches", "repeat_opening", "run_events"]

BATCH: Final = 16
"""Events of a batch in the run that is compared with the reference."""
BATCHES: Final = (1, 7, 8, 32)
"""Other batches: single events, one that leaves a short last batch, what ``infer`` mostly takes."""
REPEATED_EVENTS: Final = 32
"""Events of each set that are repeated: a few batches."""
OPENINGS: Final = 2
SEED: Final = 3

Tell = Callable[[int], Any]


@dataclass(frozen=True)
class Base:
    """Events and what an engine gave for them in the run that is compared with the reference.

    Attributes
    ----------
    events
        Events of all sets, one set after the other.
    quantities
        Of each event's set.
    outputs
        Output -> (events, components).
    sizes
        Events of each set.
    """

    events: ParityEvents
    quantities: tuple[tuple[Quantity, ...], ...]
    outputs: dict[str, NDArray[Any]]
    sizes: tuple[int, ...]

    @classmethod
    def of(
        cls,
        sets: Sequence[ParityEvents],
        quantities: Sequence[tuple[Quantity, ...]],
        outputs: Sequence[Outputs],
    ) -> Base:
        """Take the first events of each set."""
        heads = [part.head(REPEATED_EVENTS) for part in sets]
        sizes = tuple(len(part) for part in heads)
        joined = {
            name: np.concatenate(
                [part[name][:size] for part, size in zip(outputs, sizes, strict=True)]
            )
            for name in outputs[0]
        }
        return cls(ParityEvents.join(heads), tuple(quantities), joined, sizes)

    def repeat(self, subject: Subject, kind: RepeatKind, variant: str, outputs: Outputs) -> Repeat:
        """Compare outputs of the same events, in the same order, with the first ones."""
        largest, quantity, worst, one_sided, start = 0.0, None, None, 0, 0
        for wanted, size in zip(self.quantities, self.sizes, strict=True):
            rows = slice(start, start + size)
            difference = differences(
                wanted,
                {name: values[rows] for name, values in self.outputs.items()},
                {name: values[rows] for name, values in outputs.items()},
            )
            one_sided += int(np.isinf(difference).any(axis=1).sum())
            size_in_sigma = np.abs(difference) / [item.resolution for item in wanted]
            size_in_sigma[~np.isfinite(size_in_sigma)] = 0.0
            event, column = np.unravel_index(size_in_sigma.argmax(), size_in_sigma.shape)
            if size_in_sigma[event, column] > largest:
                largest = float(size_in_sigma[event, column])
                quantity = wanted[column].name
                worst = WorstEvent.at(
                    self.events.labels[start + int(event)], float(difference[event, column])
                )
            start += size
        return Repeat(
            engine=subject.engine,
            version=subject.version,
            device=subject.device,
            precision=subject.precision,
            kind=kind,
            variant=variant,
            events=len(self.events),
            other_bits=_other_bits(self.outputs, outputs),
            one_sided=one_sided,
            largest=largest,
            quantity=quantity,
            worst=worst,
            gate=0.0,
        )


def run_events(
    run: Run, events: ParityEvents, tell: Tell, batch: int = BATCH
) -> dict[str, NDArray[Any]]:
    """Run events in batches; ``tell`` is told how many are done."""
    parts = []
    for first in range(0, len(events), batch):
        rows = slice(first, first + batch)
        parts.append(run(events.npho[rows], events.time[rows], events.dead[rows]))
        tell(len(events.npho[rows]))
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def repeat_batches(
    wanted: Wanted,
    subject: Subject,
    base: Base,
    bundle: Bundle,
    checkpoint: str | PathLike[str] | None,
    tell: Tell,
) -> Iterator[Repeat | NotRun]:
    """Run the events again as they were, shuffled, and in batches of other sizes."""
    again = run_events(subject.run, base.events, tell)
    yield base.repeat(subject, "batch", f"batches of {BATCH} again", again)
    order = np.random.default_rng(SEED).permutation(len(base.events))
    shuffled = run_events(subject.run, base.events.take(order), tell)
    back = np.argsort(order)
    yield base.repeat(
        subject,
        "batch",
        f"batches of {BATCH}, shuffled",
        {name: values[back] for name, values in shuffled.items()},
    )
    for size in BATCHES:
        try:
            other = open_subject(wanted, bundle, checkpoint, batch=size)
            outputs = run_events(other.run, base.events, tell, size)
        except XecError as error:
            # An engine that was built for other batches has none of this size.
            reason = f"batches of {size}: {error.what}"
            yield NotRun(wanted.engine, wanted.device, wanted.precision, reason)
            continue
        yield base.repeat(subject, "batch", f"batches of {size}", outputs)


def repeat_opening(
    wanted: Wanted,
    subject: Subject,
    base: Base,
    bundle: Bundle,
    checkpoint: str | PathLike[str] | None,
    tell: Tell,
) -> Iterator[Repeat | NotRun]:
    """Run the events through the engine opened anew, and through one built anew."""
    for number in range(OPENINGS):
        opened = open_subject(wanted, bundle, checkpoint, batch=BATCH)
        outputs = run_events(opened.run, base.events, tell)
        yield base.repeat(subject, "rebuild", f"opened again ({number + 1})", outputs)
    name = subject.settings.get("engine")
    if subject.graph is None or name is None:
        return
    with tempfile.TemporaryDirectory(prefix="xec-parity-") as folder:
        try:
            graph = rebuild_engine(bundle, str(name), Path(folder))
            options = RunOptions(wanted.device, batch=BATCH, precision=wanted.precision)
            backend = create_backend(wanted.engine, graph, options)
        except XecError as error:
            reason = f"built again: {error.what}"
            yield NotRun(wanted.engine, wanted.device, wanted.precision, reason)
            return
        outputs = run_events(backend.run, base.events, tell)
        yield base.repeat(subject, "rebuild", "built again", outputs)


def _other_bits(first: Outputs, second: Outputs) -> int:
    """Return how many events have an output of other bits."""
    other = np.zeros(len(next(iter(first.values()))), bool)
    for name, values in first.items():
        ours, theirs = (
            np.ascontiguousarray(part.reshape(len(part), -1)).view(np.uint8)
            for part in (values, second[name])
        )
        other |= (ours != theirs).any(axis=1)
    return int(other.sum())
