"""Fit of the constants of the simple estimates on events with truth.

``python -m xec_deploy.physics.calibration OUT.json`` fits them on 10 000 simulated events, with
a seed no other sample of the project has.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from xec_deploy.detector import constants as c
from xec_deploy.detector.geometry import Geometry
from xec_deploy.errors import InputError, UsageError
from xec_deploy.physics.conventional import (
    ConventionalConstants,
    charge_centroid,
    depth_argument,
    depth_terms,
    position_terms,
    time_terms,
)
from xec_deploy.physics.observables import (
    ChargeObservables,
    charge_observables,
    mean_emission_time,
)
from xec_deploy.simulation import SimulationConfig, simulate

__all__ = [
    "LabelledEvents",
    "calibrate",
    "calibrate_on_simulation",
    "calibration_sample",
    "trimmed_least_squares",
]

FloatArray = NDArray[np.float64]

FIT_FRACTION = 0.9
"""Share of events kept at each step of a fit: the rest, showers with a late split, are tails."""
MINIMUM_EVENTS = 200


@dataclass(frozen=True, eq=False)
class LabelledEvents:
    """A batch with truth: npho, time, dead (n, 4760); energy [GeV], timing [ns], uvw [cm]."""

    npho: ArrayLike
    time: ArrayLike
    dead: ArrayLike
    energy: ArrayLike
    timing: ArrayLike
    uvw: ArrayLike

    @classmethod
    def from_simulation(cls, events: Mapping[str, ArrayLike]) -> Self:
        """Take a block of :func:`~xec_deploy.simulation.simulate`, or arrays so named."""
        return cls(
            npho=events["npho"],
            time=events["relative_time"],
            dead=events["dead"],
            energy=events["energyTruth"],
            timing=events["timeTruth"],
            uvw=events["uvwTruth"],
        )


def calibrate(
    events: Iterable[LabelledEvents],
    *,
    geometry: Geometry | None = None,
    origin: Mapping[str, Any] | None = None,
) -> ConventionalConstants:
    """Fit the constants on events with truth.

    Least squares on relative energy, on u, v, w and on time, in this order and in the fiducial
    volume; each fit drops the worst tenth once.  The time offset is taken from the true
    position, so that one pass over the events is enough and memory is that of a batch and some
    20 numbers an event.

    Parameters
    ----------
    events
        Batches; a spectrum of energies and depths like that of the events to be estimated.
    geometry
        Sensor positions, the design by default.
    origin
        Kept with the constants, to say where they come from.

    Raises
    ------
    InputError
        If there are fewer than 200 usable events.
    """
    parts: list[tuple[FloatArray, ...]] = []
    for batch in events:
        uvw = np.asarray(batch.uvw, dtype=np.float64)
        seen = charge_observables(batch.npho, batch.dead, geometry=geometry)
        emission = mean_emission_time(batch.npho, batch.time, batch.dead, uvw, geometry=geometry)
        energy = np.asarray(batch.energy, dtype=np.float64)
        delay = emission - np.asarray(batch.timing, dtype=np.float64) * 1e-9
        parts.append((seen.face_sum, seen.centroid, seen.share, seen.width, uvw, energy, delay))
    columns = [np.concatenate(part) for part in zip(*parts, strict=True)] if parts else []
    usable = _usable(columns) if columns else np.zeros(0, np.bool_)
    if np.count_nonzero(usable) < MINIMUM_EVENTS:
        raise InputError(
            f"{np.count_nonzero(usable)} events with light, truth and in the fiducial volume",
            where="calibration of the simple estimates",
            fix=f"At least {MINIMUM_EVENTS} are needed.",
        )
    face_sum, centroid, share, width, uvw, energy, delay = (part[usable] for part in columns)
    seen = ChargeObservables(face_sum, centroid, share, width)

    face_weight = trimmed_least_squares(face_sum / energy[:, None], np.ones(len(energy)))
    u, v = (trimmed_least_squares(position_terms(seen, axis), uvw[:, axis]) for axis in (0, 1))
    w = trimmed_least_squares(depth_terms(seen), uvw[:, 2])
    w_range = (0.0, float(np.quantile(uvw[:, 2], 0.999)))
    empty: tuple[float, ...] = (0.0,)
    constants = ConventionalConstants(face_weight, empty, u, v, w, w_range, empty)
    estimated = charge_centroid(seen, constants)[:, 2]
    ratio = face_sum @ np.array(face_weight) / energy
    return ConventionalConstants(
        face_weight=face_weight,
        energy_of_w=trimmed_least_squares(
            np.vander(depth_argument(estimated), 4, increasing=True), ratio
        ),
        u=u,
        v=v,
        w=w,
        w_range=w_range,
        time=trimmed_least_squares(time_terms(seen, estimated), delay),
        origin={"events": int(np.count_nonzero(usable)), **(origin or {})},
    )


def calibrate_on_simulation(
    n_events: int = 10_000, config: SimulationConfig | None = None, *, threads: int = 1
) -> ConventionalConstants:
    """Fit the constants on a simulated sample, by default that of the shipped constants."""
    sample, origin = calibration_sample(n_events, config, threads=threads)
    return calibrate(
        sample, origin={"command": "python -m xec_deploy.physics.calibration", **origin}
    )


def calibration_sample(
    n_events: int = 10_000, config: SimulationConfig | None = None, *, threads: int = 1
) -> tuple[Iterator[LabelledEvents], dict[str, Any]]:
    """Return simulated events of a seed no other sample of the project has, and their record."""
    config = config or SimulationConfig(seed=20_240_190, first_run=900_000)
    origin = {"n_events": n_events, "config": config.model_dump(mode="json")}
    return _simulated(config, n_events, threads), origin


def _simulated(config: SimulationConfig, n_events: int, threads: int) -> Iterator[LabelledEvents]:
    for block in simulate(config, n_events, threads=threads):
        yield LabelledEvents.from_simulation(block)


def _usable(columns: list[FloatArray]) -> NDArray[np.bool_]:
    uvw, energy = columns[4], columns[5]
    finite = [np.isfinite(part).reshape(len(part), -1).all(axis=1) for part in columns]
    inside = (
        (np.abs(uvw[:, 0]) < c.FIDUCIAL_U)
        & (np.abs(uvw[:, 1]) < c.FIDUCIAL_V)
        & (uvw[:, 2] > 0)
        & (uvw[:, 2] < c.FIDUCIAL_W)
    )
    return np.asarray(np.logical_and.reduce([*finite, inside, energy > 0]), dtype=np.bool_)


def trimmed_least_squares(terms: FloatArray, values: FloatArray) -> tuple[float, ...]:
    """Return coefficients (k,) of terms (n, k): least squares, again on the nearest nine tenths."""
    chosen = np.ones(len(values), dtype=np.bool_)
    solution = np.zeros(terms.shape[1])
    # Columns of very different size (photons, cm5) would lose small coefficients to rounding.
    scale = np.sqrt((terms**2).mean(axis=0))
    scale[scale == 0] = 1.0
    for _ in range(2):
        solution = np.linalg.lstsq(terms[chosen] / scale, values[chosen])[0]
        distance = np.abs(terms / scale @ solution - values)
        chosen = distance <= np.quantile(distance, FIT_FRACTION)
    return tuple(float(value) for value in solution / scale)


def main(arguments: list[str]) -> None:
    """Fit on the project's simulation and write the constants to a JSON file."""
    import json  # noqa: PLC0415 - only this command writes

    if len(arguments) != 1:
        raise UsageError("give the JSON file to write and nothing else")
    text = json.dumps(calibrate_on_simulation().to_dict(), indent=1)
    Path(arguments[0]).write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
