"""Simulated events, block by block.

A sample is cut in blocks of fixed size, each with its own random stream derived from (seed,
block), so that the events do not depend on the number of threads or on where one starts.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from xec_deploy.detector.coordinates import direction_to_angles, xyz_to_uvw
from xec_deploy.detector.geometry import Geometry, design_geometry
from xec_deploy.errors import UsageError
from xec_deploy.simulation.arrays import Array, Arrays, NumPyArrays
from xec_deploy.simulation.config import SimulationConfig
from xec_deploy.simulation.light import Light, Optics, collect
from xec_deploy.simulation.readout import digitise, run_conditions
from xec_deploy.simulation.shower import Photons, deposit, emit

__all__ = ["BLOCK_EVENTS", "BRANCHES", "SimulatedEvents", "simulate"]

BLOCK_EVENTS = 50
FloatArray = NDArray[np.float32]

BRANCHES: dict[str, tuple[str, str | None, tuple[int, ...]]] = {
    "run": ("int32", None, ()),
    "event": ("int32", None, ()),
    "npho": ("float32", "photons", (4760,)),
    "relative_time": ("float32", "s", (4760,)),
    "dead": ("bool", None, (4760,)),
    "nDead": ("int32", None, ()),
    "energyTruth": ("float32", "GeV", ()),
    "timeTruth": ("float32", "ns", ()),
    "uvwTruth": ("float32", "cm", (3,)),
    "xyzTruth": ("float32", "cm", (3,)),
    "xyzVTX": ("float32", "cm", (3,)),
    "emiAng": ("float32", "deg", (2,)),
    "emiVec": ("float32", None, (3,)),
    "nGamma": ("int32", None, ()),
}
"""Branch name -> (dtype, unit, shape of one entry), as written to ROOT files."""

SimulatedEvents = dict[str, NDArray[np.generic]]
"""The arrays of :data:`BRANCHES`, each with a leading event axis."""


@dataclass(frozen=True)
class _Setup:
    config: SimulationConfig
    arrays: Arrays
    optics: Optics


def simulate(
    config: SimulationConfig,
    n_events: int,
    *,
    first_event: int = 0,
    geometry: Geometry | None = None,
    arrays: Arrays | None = None,
    threads: int = 2,
) -> Iterator[SimulatedEvents]:
    """Yield ``n_events`` simulated events in blocks.

    Parameters
    ----------
    config
        The sample.
    n_events, first_event
        Which part of the (unlimited) sample; ``first_event`` must be a multiple of
        :data:`BLOCK_EVENTS`.
    geometry
        Sensor positions, the design by default.
    arrays
        Array namespace, NumPy by default.
    threads
        Blocks simulated at the same time (NumPy only); does not change the events.

    Raises
    ------
    UsageError
        If a number makes no sense.
    """
    if first_event < 0 or first_event % BLOCK_EVENTS:
        raise UsageError(
            f"first_event is {first_event}",
            fix=f"It must be a multiple of {BLOCK_EVENTS}: events are drawn in blocks.",
        )
    if n_events < 0 or threads < 1:
        raise UsageError(f"cannot simulate {n_events} events in {threads} threads")
    arrays = arrays or NumPyArrays()
    setup = _Setup(config, arrays, Optics.of(geometry or design_geometry(), arrays))
    first_block = first_event // BLOCK_EVENTS
    sizes = [BLOCK_EVENTS] * (n_events // BLOCK_EVENTS)
    if n_events % BLOCK_EVENTS:
        sizes.append(n_events % BLOCK_EVENTS)
    jobs = ((setup, first_block + i, size) for i, size in enumerate(sizes))
    if threads == 1 or not arrays.parallel_blocks:
        yield from (_block(*job) for job in jobs)
        return
    # Blocks are the unit of parallel work; threads of BLAS inside them would only compete.
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(threads) as pool:
        # A sliding window of futures: finished blocks wait for the consumer, not in a long queue.
        window = [pool.submit(_block, *job) for job in islice(jobs, 2 * threads)]
        while window:
            done = window.pop(0).result()
            window.extend(pool.submit(_block, *job) for job in islice(jobs, 1))
            yield done


def _block(setup: _Setup, block: int, size: int) -> SimulatedEvents:
    config = setup.config
    arrays = setup.arrays.seed(config.seed, block)
    photons = emit(arrays, config, BLOCK_EVENTS, config.energy_min, config.energy_max)
    light = collect(arrays, config, setup.optics, *deposit(arrays, config, photons))
    n_gamma = np.ones(BLOCK_EVENTS, np.int32)
    if config.pileup_fraction > 0:
        light, second = _pile_up(arrays, setup, light)
        n_gamma += second
    event = block * BLOCK_EVENTS + np.arange(BLOCK_EVENTS)
    run = config.first_run + event // config.events_per_run
    conditions = {number: run_conditions(config, int(number)) for number in np.unique(run)}
    dead = np.stack([conditions[number].dead for number in run])
    calibration = np.stack([conditions[number].calibration for number in run])
    readout = digitise(arrays, config, light, arrays.asarray(calibration), arrays.asarray(dead))
    truth = _truth(arrays, photons)
    events: SimulatedEvents = {
        "run": run.astype(np.int32),
        "event": event.astype(np.int32),
        "npho": arrays.to_numpy(readout.npho).astype(np.float32, copy=False),
        "relative_time": arrays.to_numpy(readout.time).astype(np.float32, copy=False),
        "dead": dead,
        "nDead": dead.sum(axis=1).astype(np.int32),
        "timeTruth": (arrays.to_numpy(readout.event_time) * 1e9).astype(np.float32),
        "nGamma": n_gamma,
        **truth,
    }
    return {name: events[name][:size] for name in BRANCHES}


def _pile_up(arrays: Arrays, setup: _Setup, light: Light) -> tuple[Light, NDArray[np.int32]]:
    """Add the light of a second photon, at another place and time, to some events."""
    config, xp = setup.config, arrays.xp
    second = emit(arrays, config, BLOCK_EVENTS, config.pileup_energy_min, config.pileup_energy_max)
    other = collect(arrays, config, setup.optics, *deposit(arrays, config, second))
    one = 0 * other.photons[:, 0] + 1
    present: Array = xp.where(arrays.uniform(BLOCK_EVENTS) < config.pileup_fraction, one, 0 * one)
    offset = config.pileup_window * (2 * arrays.uniform(BLOCK_EVENTS) - 1)
    added = other.photons * present[:, None]
    photons = light.photons + added
    arrival = light.photons * light.arrival + added * (other.arrival + offset[:, None])
    merged = Light(photons, arrival / photons.clip(1e-12, None))
    return merged, arrays.to_numpy(present).astype(np.int32)


def _truth(arrays: Arrays, photons: Photons) -> SimulatedEvents:
    xyz = arrays.to_numpy(photons.conversion).astype(np.float64)
    direction = arrays.to_numpy(photons.direction).astype(np.float64)
    return {
        "energyTruth": (arrays.to_numpy(photons.energy) * 1e-3).astype(np.float32),
        "uvwTruth": xyz_to_uvw(xyz).astype(np.float32),
        "xyzTruth": xyz.astype(np.float32),
        "xyzVTX": arrays.to_numpy(photons.vertex).astype(np.float32),
        "emiAng": direction_to_angles(direction).astype(np.float32),
        "emiVec": direction.astype(np.float32),
    }
