"""What a comparison measured, before any gate: small enough to keep, complete enough to judge."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xec_deploy.parity.events import EventLabel
from xec_deploy.parity.macro import MacroMeasurement
from xec_deploy.parity.metrics import Quantity
from xec_deploy.parity.results import BitComparison, EventSet, NotRun, Repeat

__all__ = ["MeasuredEvents", "MeasuredRow", "Measurement"]


@dataclass(frozen=True)
class MeasuredEvents:
    """A set of events with its reference.

    Attributes
    ----------
    facts
        Name, files, what the reference is.
    labels
        One an event.
    quantities
        What is compared.
    reference
        (events, quantities) float64 in the units of the quantities; NaN for outputs of thousands
        of components.
    """

    facts: EventSet
    labels: tuple[EventLabel, ...]
    quantities: tuple[Quantity, ...]
    reference: NDArray[np.float64]


@dataclass(frozen=True)
class MeasuredRow:
    """An engine in one precision.

    Attributes
    ----------
    engine, version, device, precision
        What ran.
    graph_sha256
        Canonical hash of the graph; None for a checkpoint.
    arithmetic
        Of the machine, where results depend on it; see
        :func:`xec_deploy.backends.cores.arithmetic_of`.
    settings
        How the engine describes itself.
    differences
        Name of the event set -> (events, quantities) engine less reference, see
        :func:`~xec_deploy.parity.metrics.differences`.
    """

    engine: str
    version: str
    device: str
    precision: str
    graph_sha256: str | None
    arithmetic: str
    settings: dict[str, Any]
    differences: dict[str, NDArray[np.float64]]

    def describe(self) -> dict[str, Any]:
        """Return what ran, as plain values."""
        return {
            "engine": self.engine,
            "version": self.version,
            "device": self.device,
            "precision": self.precision,
            "graph_sha256": self.graph_sha256,
            "arithmetic": self.arithmetic,
            "settings": self.settings,
        }


@dataclass(frozen=True)
class Measurement:
    """Everything measured; gates in it are open.

    Attributes
    ----------
    path, bundle
        The bundle, its name and hashes.
    event_sets, rows
        Events, and engines on them.
    repeats, preprocessing
        Figures without a gate.
    macro
        The C++ fit and the macro's, event by event; None if not compared.
    not_run
        What could not run.
    provenance
        When and where, versions.
    """

    path: str
    bundle: dict[str, str]
    event_sets: tuple[MeasuredEvents, ...]
    rows: tuple[MeasuredRow, ...]
    repeats: tuple[Repeat, ...] = ()
    preprocessing: tuple[BitComparison, ...] = ()
    macro: MacroMeasurement | None = None
    not_run: tuple[NotRun, ...] = ()
    provenance: dict[str, Any] = field(default_factory=dict)
