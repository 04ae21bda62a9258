"""Differences between an engine and the reference, as figures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from xec_deploy.bundle import Manifest, yardstick
from xec_deploy.parity.events import EventLabel
from xec_deploy.parity.results import Comparison, WorstEvent

__all__ = ["Outputs", "compare"]

Outputs = Mapping[str, NDArray[Any]]
"""Output tensor -> (events, components), physical units."""

WORST_EVENTS: Final = 3


@dataclass(frozen=True)
class _Column:
    """One quantity: where its values are and what they are measured in."""

    tensor: str
    index: int
    quantity: str
    unit: str | None
    resolution: float
    assumed: bool


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
            **_figures(
                outputs[column.tensor][:, column.index].astype(np.float64),
                reference[column.tensor][:, column.index],
                labels,
            ),
            **facts,
        )
        for column in _columns(manifest, reference)
    )


def _columns(manifest: Manifest, reference: Outputs) -> Iterator[_Column]:
    for tensor in manifest.output_names:
        task = manifest.tasks[tensor.removesuffix("_sigma")]
        suffix = "" if tensor in manifest.tasks else "_sigma"
        scale, assumed = yardstick(manifest, tensor, reference[tensor])
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
