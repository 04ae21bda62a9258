"""From expected photons to what a file holds: counts, times, dead channels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xec_deploy.detector import constants as c
from xec_deploy.simulation.arrays import Array, Arrays
from xec_deploy.simulation.config import SimulationConfig
from xec_deploy.simulation.light import Light

__all__ = ["Readout", "RunConditions", "digitise", "run_conditions"]

BOARD_CHANNELS = 16
EFFICIENCY = np.where(np.arange(c.N_SENSORS) < c.N_MPPC, c.MPPC_PDE, c.PMT_QE)


@dataclass(frozen=True)
class RunConditions:
    """What stays constant in a run: calibration (4760,) float32 and dead channels (4760,) bool."""

    calibration: NDArray[np.float32]
    dead: NDArray[np.bool_]


def run_conditions(config: SimulationConfig, run: int) -> RunConditions:
    """Return the conditions of a run, the same wherever and in whatever order it is simulated."""
    # Always NumPy: a run has one set of conditions whether simulated on CPU or GPU.
    random = np.random.default_rng([config.seed, run, 0x72756E])
    calibration = 1 + config.calibration_spread * random.standard_normal(c.N_SENSORS)
    fraction = random.uniform(config.dead_fraction_min, config.dead_fraction_max)
    dead = random.random(c.N_SENSORS) < fraction
    if random.random() < config.dead_board_probability:
        board = int(random.integers(c.N_SENSORS // BOARD_CHANNELS))
        dead[board * BOARD_CHANNELS : (board + 1) * BOARD_CHANNELS] = True
    return RunConditions(calibration.astype(np.float32), dead)


@dataclass(frozen=True)
class Readout:
    """Raw values: npho and relative time [s] (n, 4760), 1e10 where invalid; event time (n,) [s].

    ``event_time`` is the true conversion time in the frame of the relative times, that is minus
    the time of the earliest good channel.
    """

    npho: Array
    time: Array
    event_time: Array


def digitise(
    arrays: Arrays, config: SimulationConfig, light: Light, calibration: Array, dead: Array
) -> Readout:
    """Apply photon statistics, noise, time resolution and the run's conditions.

    ``calibration`` and ``dead`` are (n, 4760), dead as 0 or 1.
    """
    xp = arrays.xp
    n = light.photons.shape[0]
    efficiency = arrays.asarray(EFFICIENCY)
    common = (1 + config.common_spread * arrays.normal(n))[:, None]
    detected = arrays.poisson(light.photons * efficiency * common.clip(0.0, None))
    variance = (config.excess_noise - 1) * detected + config.noise_photoelectrons**2
    charge = detected + xp.sqrt(variance) * arrays.normal(n, c.N_SENSORS)
    npho = charge / efficiency * calibration

    sigma = xp.sqrt(
        config.time_sigma_photoelectron**2 / detected.clip(1.0, None) + config.time_sigma_floor**2
    )
    jitter = config.time_sigma_common * arrays.normal(n)
    time = light.arrival + jitter[:, None] + sigma * arrays.normal(n, c.N_SENSORS)
    alive = dead < 0.5
    timed = alive & (detected >= 1) & (charge >= config.time_threshold_photoelectrons)
    reference = timed & (charge > config.reference_photoelectrons)
    huge = 0 * time + 1.0
    earliest = xp.amin(xp.where(reference, time, huge), -1)
    any_timed = xp.amin(xp.where(timed, time, huge), -1)
    earliest = xp.where(earliest < 1.0, earliest, any_timed)
    earliest = xp.where(earliest < 1.0, earliest, 0 * earliest)
    invalid = 0 * time + c.INVALID
    return Readout(
        npho=xp.where(alive, npho, invalid),
        time=xp.where(timed, time - earliest[:, None], invalid),
        event_time=-earliest,
    )
