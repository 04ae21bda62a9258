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

__all__ = [
    "Outputs",
    "Quantity",
    "compare",
    "compare_differences",
    "differences",
    "quantities",
    "reference_values",
]

Outputs = Mapping[str, NDArray[Any]]
"""Output tensor -> (events, components), physical units."""

WORST_EVENTS: Final = 3


@dataclass(frozen=True)
class Quantity:
    """One number of an event, and what its differences are measured in.

    Attributes
    ----------
    tensor, index
        Where its values are; ``index`` None stands for the component of each event that differs
        most, of outputs with thousands of them.
    name, unit
        Name as in the results of ``infer``; unit None for a pure number.
    resolution
        The detector's, in ``unit``.
    assumed
        Whether it has none and a scale stands for it, see :func:`xec_deploy.bundle.yardstick`.
    """

    tensor: str
    index: int | None
    name: str
    unit: str | None
    resolution: float
    assumed: bool


def quantities(manifest: Manifest, reference: Outputs) -> tuple[Quantity, ...]:
    """Return what a model gives; ``reference`` sets the scale of what has no resolution."""
    return tuple(_quantities(manifest, reference))


def _quantities(manifest: Manifest, reference: Outputs) -> Iterator[Quantity]:
    for tensor in manifest.output_names:
        scale, assumed = yardstick(manifest, tensor, reference[tensor])
        task = manifest.tasks.get(tensor.removesuffix("_sigma"))
        if task is None:
            unit = "photons" if tensor == FILLED_OUTPUT else None
            yield Quantity(tensor, None, f"{tensor}, worst", unit, float(scale.min()), assumed)
            continue
        suffix = "" if tensor in manifest.tasks else "_sigma"
        for index, output in enumerate(task.outputs):
            name = output.name + suffix
            yield Quantity(tensor, index, name, output.unit, float(scale[index]), assumed)


def differences(
    wanted: Sequence[Quantity], reference: Outputs, outputs: Outputs
) -> NDArray[np.float64]:
    """Return engine less reference, all that figures are made of.

    Returns
    -------
    difference
        (events, quantities) in the units of the quantities; NaN where neither is a finite number,
        infinite where only one of the two is.
    """
    columns = [_difference(quantity, reference, outputs) for quantity in wanted]
    return np.stack(columns, axis=1)


def reference_values(wanted: Sequence[Quantity], reference: Outputs) -> NDArray[np.float64]:
    """Return the reference's (events, quantities); NaN for outputs of thousands of components."""
    columns = [
        np.full(len(reference[quantity.tensor]), np.nan)
        if quantity.index is None
        else reference[quantity.tensor].astype(np.float64)[:, quantity.index]
        for quantity in wanted
    ]
    return np.stack(columns, axis=1)


def _difference(quantity: Quantity, reference: Outputs, outputs: Outputs) -> NDArray[np.float64]:
    values, expected = (
        part[quantity.tensor].astype(np.float64).reshape(len(part[quantity.tensor]), -1)
        for part in (outputs, reference)
    )
    if quantity.index is not None:
        values, expected = (part[:, [quantity.index]] for part in (values, expected))
    finite = np.isfinite(values), np.isfinite(expected)
    # What both have as infinite or not a number is the same.
    with np.errstate(invalid="ignore"):
        difference = np.where(finite[0] & finite[1], values - expected, np.nan)
    difference[finite[0] ^ finite[1]] = np.inf
    if quantity.index is not None:
        return difference[:, 0]
    worst = np.where(np.isnan(difference), -1.0, np.abs(difference)).argmax(axis=1)
    return np.asarray(difference[np.arange(len(difference)), worst])


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
    wanted = quantities(manifest, reference)
    return compare_differences(wanted, differences(wanted, reference, outputs), labels, **facts)


def compare_differences(
    wanted: Sequence[Quantity],
    difference: NDArray[np.float64],
    labels: Sequence[EventLabel],
    **facts: Any,
) -> tuple[Comparison, ...]:
    """Make the figures of differences that were kept; arguments as of :func:`compare`."""
    return tuple(
        Comparison(
            quantity=quantity.name,
            unit=quantity.unit,
            resolution=quantity.resolution,
            assumed_resolution=quantity.assumed,
            **_figures(column, labels),
            **facts,
        )
        for quantity, column in zip(wanted, difference.T, strict=True)
    )


def _figures(column: NDArray[np.float64], labels: Sequence[EventLabel]) -> dict[str, Any]:
    both = np.isfinite(column)
    # Nothing to compare fails by itself; the figures are those of no difference.
    difference = column[both] if both.any() else np.zeros(1)
    size = np.abs(difference)
    entries = np.flatnonzero(both)
    worst = np.argsort(size[: len(entries)], kind="stable")[::-1][:WORST_EVENTS]
    p50, p99 = np.quantile(size, [0.5, 0.99])
    return {
        "events": int(both.sum()),
        "one_sided": int(np.isinf(column).sum()),
        "bias": float(difference.mean()),
        "p50": float(p50),
        "p99": float(p99),
        "maximum": float(size.max()),
        "spread": float(difference.std()),
        "worst": tuple(WorstEvent.at(labels[entries[i]], float(difference[i])) for i in worst),
    }
