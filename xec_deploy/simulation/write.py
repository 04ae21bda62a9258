"""Simulated samples as ROOT files of the experiment's form."""

from __future__ import annotations

from collections.abc import Callable
from os import PathLike
from typing import Any

from xec_deploy import __version__
from xec_deploy.detector.geometry import Geometry
from xec_deploy.events import Column, EventWriter
from xec_deploy.events.writer import EVENT_COLUMNS
from xec_deploy.simulation.arrays import Arrays
from xec_deploy.simulation.config import SimulationConfig
from xec_deploy.simulation.generate import BRANCHES, simulate

__all__ = ["write_simulation"]

TRUTH_COLUMNS = {
    name: Column(dtype, unit, shape)
    for name, (dtype, unit, shape) in BRANCHES.items()
    if name not in EVENT_COLUMNS
}


def write_simulation(
    path: str | PathLike[str],
    config: SimulationConfig,
    n_events: int,
    *,
    first_event: int = 0,
    geometry: Geometry | None = None,
    arrays: Arrays | None = None,
    threads: int = 2,
    progress: Callable[[int], Any] | None = None,
) -> None:
    """Simulate ``n_events`` events and write them to one file.

    The TTree ``tree`` has the branches of the experiment's ntuples, MC truth and ``dead``; the
    TObjString ``provenance`` holds the configuration.  ``progress`` is called with the number of
    events after each block; other arguments as in :func:`~xec_deploy.simulation.simulate`.
    """
    provenance = {
        "program": "xec-train simulate",
        "version": __version__,
        "config": config.model_dump(mode="json"),
        "first_event": first_event,
        "n_events": n_events,
        "geometry": geometry.source if geometry else "design",
        "arrays": type(arrays).__name__ if arrays else "NumPyArrays",
    }
    with EventWriter(path, TRUTH_COLUMNS) as writer:
        for events in simulate(
            config,
            n_events,
            first_event=first_event,
            geometry=geometry,
            arrays=arrays,
            threads=threads,
        ):
            writer.extend(events)
            if progress:
                progress(len(events["run"]))
        writer.commit(provenance, expected_entries=n_events)
