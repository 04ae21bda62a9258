"""Differences between an engine and the reference, as figures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from xec_deploy.bundle import Manifest, yardstick
from xec_deploy.bundle.manifest import FILLED_OUTPUT
from xec_deploy.parity.events import EventLabel
from xec_deploy.parity.results import Comparison, WorstEvent

__all__ = ["Outputs", "compare"]

Outputs = Mapping[str, NDArray[Any]]
"""Output tensor -> (events, components), physical units."""

WORST_EVENTS: Final = 3


@dataclass(frozen=True)
class _Column:
    """One quantity: where its values are and what they are measured in.

    ``index`` None stands for the component of each event that differs most, of outputs with
    thousands of them.
    """

    tensor: str
    index: int | None
    quantity: str
    unit: str | None
    resolution: float
    assumed: bool

    def take(
        self, outputs: Outputs, reference: Outputs
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the values (events,) of an engine and of the reference."""
        parts = [part[self.tensor].astype(np.float64) for part in (outputs, reference)]
        if self.index is not None:
            return parts[0][:, self.index], parts[1][:, self.index]
        values, expected = (part.reshape(len(part), -1) for part in parts)
        # What both have as infinite or not a number is the same.
        with np.errstate(invalid="ignore"):
            size = np.abs(values - expected)
        both = ~np.isfinite(values) & ~np.isfinite(expected)
        size = np.where(both, 0.0, np.where(np.isnan(size), np.inf, size))
        worst = size.argmax(axis=1)
        rows = np.arange(len(values))
        return values[rows, worst], expected[rows, worst]


def compare(
    manifest: Manifest,
    reference: Outputs,
    outputs: Outputs,
    labels: Sequence[EventLabel],
    **facts: Any,
) -> tuple[Comparison, ...]:
    """Compare every quantity of a model.

    Parameters
    ----------
    manifest
        Names, units and resolutions.
    reference, outputs
        Float64 reference and what the engine gave, event by event alike.
    labels
        Where the events come from.
    facts
        The other fields of :class:`~xec_deploy.parity.results.Comparison`: engine, version,
        device, precision, event_set and gate.
    """
    return tuple(
        Comparison(
            quantity=column.quantity,
            unit=column.unit,
            resolution=column.resolution,
            assumed_resolution=column.assumed,
            **_figures(*column.take(outputs, reference), labels),
            **facts,
        )
        for column in _columns(manifest, reference)
    )


def _columns(manifest: Manifest, reference: Outputs) -> Iterator[_Column]:
    for tensor in manifest.output_names:
        scale, assumed = yardstick(manifest, tensor, reference[tensor])
        task = manifest.tasks.get(tensor.removesuffix("_sigma"))
        if task is None:
            unit = "photons" if tensor == FILLED_OUTPUT else None
            yield _Column(tensor, None, f"{tensor}, worst", unit, float(scale.min()), assumed)
            continue
        suffix = "" if tensor in manifest.tasks else "_sigma"
        for index, output in enumerate(task.outputs):
            name = output.name + suffix
            yield _Column(tensor, index, name, output.unit, float(scale[index]), assumed)


def _figures(
    values: NDArray[np.float64], expected: NDArray[np.float64], labels: Sequence[EventLabel]
) -> dict[str, Any]:
    finite = np.isfinite(values), np.isfinite(expected)
    both = finite[0] & finite[1]
    difference = (values - expected)[both]
    if not len(difference):
        # Nothing to compare fails by itself; the figures are those of no difference.
        difference = np.zeros(1)
    size = np.abs(difference)
    entries = np.flatnonzero(both)
    worst = np.argsort(size[: len(entries)], kind="stable")[::-1][:WORST_EVENTS]
    p50, p99 = np.quantile(size, [0.5, 0.99])
    return {
        "events": int(both.sum()),
        "one_sided": int((finite[0] ^ finite[1]).sum()),
        "bias": float(difference.mean()),
        "p50": float(p50),
        "p99": float(p99),
        "maximum": float(size.max()),
        "spread": float(difference.std()),
        "worst": tuple(
            WorstEvent(
                labels[entries[i]].source,
                labels[entries[i]].entry,
                labels[entries[i]].run,
                labels[entries[i]].event,
                float(difference[i]),
            )
            for i in worst
        ),
    }
