"""What the simulation allows at best: the common term in energy, photon statistics in time.

Both follow from how the simulation reads out the light (``docs/simulation.md``, step 5) and hold
for an estimator that knows the position, the shower and so the expected light and arrival time
of every sensor, but not the fluctuations.

Energy
    All sensors of an event share a factor of relative spread s (``common_spread``), which nothing
    in the event tells.  Beyond it, channel i with n_i expected photoelectrons has the charge
    variance F n_i + q^2, with F the ``excess_noise`` and q the ``noise_photoelectrons``.  The
    weighted sum of least variance for a common scale has the relative variance
    1 / sum_i n_i^2 / (F n_i + q^2), so that (sigma / E)^2 = s^2 + 1 / sum_i n_i^2 / (F n_i + q^2).

Time
    Channel i measures the conversion with variance T^2 / n_i + t^2, T being
    ``time_sigma_photoelectron`` and t ``time_sigma_floor``, on top of a jitter common to the event
    of ``time_sigma_common``.  The weighted mean over channels with a time has
    sigma^2 = common^2 + 1 / sum_i 1 / (T^2 / n_i + t^2).  Times are relative to the earliest
    channel, and so is the truth: the reference drops out.

Both are Cramer-Rao bounds for unbiased estimators.  The expected n_i are taken from the charges
measured in the event, ``npho`` times the sensor's efficiency.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
import uproot
from numpy.typing import ArrayLike, NDArray
from pydantic import ValidationError
from scipy.optimize import brentq
from scipy.special import erf

from xec_deploy.detector import constants as c
from xec_deploy.physics.observables import live_photons
from xec_deploy.physics.width import ONE_SIGMA
from xec_deploy.simulation import SimulationConfig

__all__ = [
    "LIMIT_PARAMETERS",
    "energy_limit",
    "mixture_sigma68",
    "simulation_of",
    "time_limit",
]

FloatArray = NDArray[np.float64]

EFFICIENCY: Final = np.where(np.arange(c.N_SENSORS) < c.N_MPPC, c.MPPC_PDE, c.PMT_QE)
LIMIT_PARAMETERS: Final = (
    "common_spread",
    "excess_noise",
    "noise_photoelectrons",
    "time_sigma_photoelectron",
    "time_sigma_floor",
    "time_sigma_common",
    "pileup_fraction",
)
"""Parameters the limits depend on."""
NOISE_CUT: Final = 2.0
"""Channels below this many noise sigma count as dark: their charge is noise alone."""


@dataclass(frozen=True)
class _Charges:
    photoelectrons: FloatArray
    live: NDArray[np.bool_]


def energy_limit(config: SimulationConfig, npho: ArrayLike, dead: ArrayLike) -> FloatArray:
    """Return the least relative energy spread of each event, (n,) [%]; NaN without light.

    Parameters
    ----------
    config
        The simulation's parameters.
    npho, dead
        (n, 4760) raw photons and flags.
    """
    found = _charges(npho, dead)
    noise = config.noise_photoelectrons
    n = np.where(found.live & (found.photoelectrons > NOISE_CUT * noise), found.photoelectrons, 0)
    information = np.divide(
        n**2, config.excess_noise * n + noise**2, out=np.zeros_like(n), where=n > 0
    ).sum(axis=1)
    return 100 * np.sqrt(config.common_spread**2 + _inverse(information))


def time_limit(
    config: SimulationConfig, npho: ArrayLike, time: ArrayLike, dead: ArrayLike
) -> FloatArray:
    """Return the least spread of each event's time, (n,) [ps]; NaN without a time.

    Parameters
    ----------
    config
        The simulation's parameters.
    npho, time, dead
        (n, 4760) raw photons, seconds and flags.
    """
    found = _charges(npho, dead)
    seconds = np.asarray(time, dtype=np.float64)
    timed = found.live & (np.abs(seconds) < c.INVALID_ABOVE) & (found.photoelectrons > 0)
    # The simulation gives every channel at least the resolution of one photoelectron.
    n = np.where(timed, found.photoelectrons, 1.0).clip(1.0)
    variance = config.time_sigma_photoelectron**2 / n + config.time_sigma_floor**2
    # A simulation of perfect times has no limit but the common one.
    weight = np.where(timed, 1 / np.maximum(variance, 1e-30), 0.0)
    return 1e12 * np.sqrt(config.time_sigma_common**2 + _inverse(weight.sum(axis=1)))


def mixture_sigma68(sigma: ArrayLike) -> float:
    """Return sigma68 of residuals drawn from centred Gaussians of different sigma.

    It is the s with mean(erf(s / sigma_i sqrt 2)) = 0.6827.  Values that are not positive and
    finite are left out; NaN without any.
    """
    widths = np.ravel(np.asarray(sigma, dtype=np.float64))
    widths = widths[np.isfinite(widths) & (widths > 0)]
    if len(widths) == 0:
        return math.nan
    low, high = float(widths.min()), float(widths.max())
    if high <= low * (1 + 1e-12):
        return low

    def excess(width: float) -> float:
        return float(erf(width / (math.sqrt(2) * widths)).mean()) - ONE_SIGMA

    return float(brentq(excess, low, high, xtol=1e-9 * high))


def simulation_of(paths: Iterable[str]) -> tuple[SimulationConfig | None, str]:
    """Find the simulation parameters in the provenance of files.

    Returns
    -------
    config, note
        None if a file has none, or files differ in what the limits depend on; one sentence saying
        so, or where the parameters are from.
    """
    found: SimulationConfig | None = None
    for path in paths:
        config = _provenance_config(path)
        if config is None:
            return None, f"{path} does not state simulation parameters, so there are no limits."
        if found is not None:
            for name in LIMIT_PARAMETERS:
                if getattr(config, name) != getattr(found, name):
                    return None, f"The files differ in {name}, so there are no limits."
        found = config
    if found is not None and found.pileup_fraction > 0:
        return None, "The events have pile-up, for which there are no limits."
    return found, "The simulation parameters are those of the files' provenance."


def _provenance_config(path: str) -> SimulationConfig | None:
    try:
        with uproot.open(path) as file:
            content = json.loads(str(file["provenance"]))
        return SimulationConfig.model_validate(content["config"])
    except (uproot.KeyInFileError, ValueError, KeyError, TypeError, OSError, ValidationError):
        return None


def _charges(npho: ArrayLike, dead: ArrayLike) -> _Charges:
    photons, live = live_photons(npho, dead)
    return _Charges(photons * EFFICIENCY, live)


def _inverse(information: FloatArray) -> FloatArray:
    return np.divide(1.0, information, out=np.full_like(information, np.nan), where=information > 0)
