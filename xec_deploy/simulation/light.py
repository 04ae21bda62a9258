"""Scintillation light from energy spots to the sensors.

Direct light: solid angle x exp(-r / absorption) x Fresnel transmission.  The solid angle of a
sensor of area A seen from distance r under cos(theta) = h / r is taken as
``A h / (4 pi (r^2 + A / 2 pi)^(3/2))``, which equals the exact disc on its axis up to fourth
order in size over distance.  Squared distances and heights are linear in a few features of the
spot, so both are matrix products over all spots and sensors at once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from xec_deploy.detector import constants as c
from xec_deploy.detector.geometry import Geometry
from xec_deploy.simulation.arrays import Array, Arrays
from xec_deploy.simulation.config import SimulationConfig

__all__ = ["Light", "Optics", "collect"]

MPPC_AREA = (2 * (c.MPPC_CHIP_OUTER_EDGE - c.MPPC_CHIP_INNER_EDGE)) ** 2
PMT_AREA = math.pi * c.PMT_RADIUS**2
NORMAL_REFLECTANCE = 0.06


@dataclass(frozen=True)
class Optics:
    """Sensors as the light sees them, on the device of the arrays."""

    distance_features: Array
    height_features: Array
    area: Array
    size: Array
    origin: Array

    @classmethod
    def of(cls, geometry: Geometry, arrays: Arrays) -> Optics:
        """Prepare the (4 or 5, 4760) feature matrices of a geometry."""
        # Coordinates relative to the middle of the detector keep float32 cancellation harmless.
        origin = np.array([-(c.R_EFF + 10.0), 0.0, 0.0])
        position = geometry.position - origin
        area = np.where(geometry.is_mppc, MPPC_AREA, PMT_AREA)
        size = area / (2 * math.pi)
        distance = np.vstack([-2 * position.T, (position**2).sum(1) + size, np.ones(c.N_SENSORS)])
        # h = (position - spot) . (-normal): the normal points into the xenon, towards the spot.
        height = np.vstack([geometry.normal.T, -(position * geometry.normal).sum(1)])
        return cls(
            distance_features=arrays.asarray(distance),
            height_features=arrays.asarray(height),
            area=arrays.asarray(area / (4 * math.pi)),
            size=arrays.asarray(size),
            origin=arrays.asarray(origin),
        )


@dataclass(frozen=True)
class Light:
    """Expected photons (n, 4760) and their mean arrival time (n, 4760) [s].

    The time is that of the direct light, or of a straight path where there is none.
    """

    photons: Array
    arrival: Array


def collect(
    arrays: Arrays,
    config: SimulationConfig,
    optics: Optics,
    position: Array,
    energy: Array,
    delay: Array,
) -> Light:
    """Propagate the light of spots (n, k, 3), (n, k) [MeV], (n, k) [s] to all sensors."""
    step = arrays.events_per_step
    parts = [
        _collect(
            arrays,
            config,
            optics,
            position[i : i + step],
            energy[i : i + step],
            delay[i : i + step],
        )
        for i in range(0, position.shape[0], step)
    ]
    xp = arrays.xp
    direct = xp.concatenate([photons for photons, _ in parts])
    arrival = xp.concatenate([time for _, time in parts])
    pool = direct.sum(-1)[:, None] * (config.diffuse_fraction / (1 - config.diffuse_fraction))
    diffuse = pool * (optics.area / optics.area.sum())
    return Light(photons=direct + diffuse, arrival=arrival)


def _collect(
    arrays: Arrays,
    config: SimulationConfig,
    optics: Optics,
    position: Array,
    energy: Array,
    delay: Array,
) -> tuple[Array, Array]:
    xp = arrays.xp
    n, k, _ = position.shape
    spot = (position - optics.origin).reshape(n * k, 3)
    one = 0 * spot[:, :1] + 1
    square = (spot * spot).sum(-1)[:, None]
    distance2 = xp.concatenate([spot, one, square], 1) @ optics.distance_features
    height = xp.concatenate([spot, one], 1) @ optics.height_features
    height = height.clip(0.0, None)
    distance = xp.sqrt(distance2)
    inverse = 1.0 / distance
    cosine = height * inverse
    grazing = 1.0 - cosine
    grazing2 = grazing * grazing
    # Schlick's approximation of the Fresnel reflectance.
    transmission = (1 - NORMAL_REFLECTANCE) * (1.0 - grazing2 * grazing2 * grazing)
    fraction = cosine * inverse * inverse * transmission
    fraction = (fraction * xp.exp(distance * (-1.0 / config.absorption_length))).reshape(n, k, -1)
    emitted = (energy * (1e6 / c.EV_PER_PHOTON))[:, None, :]
    photons = (emitted @ fraction)[:, 0]
    weighted = (emitted @ (fraction * distance.reshape(n, k, -1)))[:, 0]
    delayed = ((emitted * delay[:, None, :]) @ fraction)[:, 0]
    slowness = c.REFRACTIVE_INDEX / c.SPEED_OF_LIGHT
    direct = (weighted * slowness + delayed) / photons.clip(1e-12, None)
    # A sensor that no spot sees has scattered light only, which comes no earlier than straight.
    total = emitted.sum(-1).clip(1e-12, None)
    path = (emitted @ distance.reshape(n, k, -1))[:, 0] / total
    scattered = path * slowness + (emitted[:, 0] * delay).sum(-1)[:, None] / total
    return photons * optics.area, xp.where(photons > 1e-12, direct, scattered)
