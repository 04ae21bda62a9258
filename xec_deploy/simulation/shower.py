"""Photons from the target and the energy they deposit in the xenon.

A photon enters the inner face, converts after an exponential depth with mean 9/7 X0, and its
energy is deposited in a number of spots along its direction: depth gamma-distributed (k = 2)
with a scale that grows with the logarithm of the energy, transverse distance with a core and a
tail.  Spots outside the xenon are lost, which is how energy leaks from shallow showers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from xec_deploy.detector import constants as c
from xec_deploy.simulation.arrays import Array, Arrays
from xec_deploy.simulation.config import SimulationConfig

__all__ = ["Photons", "deposit", "emit"]

CRITICAL_ENERGY_MEV = 11.7
CORE_FRACTION = 0.8
CORE_SCALE = 0.8
TAIL_SCALE = 3.0
END_CAP_HALF_LENGTH = (35.1547, 69.53, 2.3369 / 6.684)
_COS_HALF_OPENING = math.cos(math.radians(c.PHI_OPENING_DEG / 2))


@dataclass(frozen=True)
class Photons:
    """Truth of a set of photons: energy (n,) [MeV]; vertex, conversion, direction (n, 3)."""

    energy: Array
    vertex: Array
    conversion: Array
    direction: Array


def emit(
    arrays: Arrays, config: SimulationConfig, n: int, energy_min: float, energy_max: float
) -> Photons:
    """Draw photons that enter the inner face and convert in the xenon."""
    xp = arrays.xp
    energy = energy_min + (energy_max - energy_min) * arrays.uniform(n)
    u = config.entry_u_max * (2 * arrays.uniform(n) - 1)
    phi = config.entry_v_max * (2 * arrays.uniform(n) - 1) / c.R_EFF
    entry = xp.stack([-c.R_EFF * xp.cos(phi), c.R_EFF * xp.sin(phi), u], -1)
    vertex = config.vertex_sigma * arrays.normal(n, 3)
    path = entry - vertex
    direction = path / xp.sqrt((path * path).sum(-1))[:, None]
    # Depth along the path, exponential but truncated where the photon would leave at the back.
    mean = 9 / 7 * c.RADIATION_LENGTH
    radial = -direction[:, 0] * xp.cos(phi) + direction[:, 1] * xp.sin(phi)
    longest = (c.R_OUTER - c.R_EFF) / radial
    depth = -mean * xp.log(1 - arrays.uniform(n) * (1 - xp.exp(-longest / mean)))
    return Photons(energy, vertex, entry + depth[:, None] * direction, direction)


def deposit(
    arrays: Arrays, config: SimulationConfig, photons: Photons
) -> tuple[Array, Array, Array]:
    """Return spots of the showers.

    Returns
    -------
    position
        (n, spots, 3) [cm].
    energy
        (n, spots) [MeV], 0 for spots outside the xenon.
    delay
        (n, spots) [s] after the conversion.
    """
    xp = arrays.xp
    n, k = photons.energy.shape[0], config.n_spots
    scale = c.RADIATION_LENGTH * (0.35 + 0.2 * xp.log(1 + photons.energy / CRITICAL_ENERGY_MEV))
    depth = scale[:, None] * (arrays.exponential(n, k) + arrays.exponential(n, k))
    in_core = arrays.uniform(n, k) < CORE_FRACTION
    radius = arrays.exponential(n, k)
    radius = xp.where(in_core, CORE_SCALE * radius, TAIL_SCALE * radius)
    angle = 2 * math.pi * arrays.uniform(n, k)
    # Photons come from the target, never along z: z x direction is a safe transverse axis.
    d = photons.direction
    norm = xp.sqrt(d[:, 0] ** 2 + d[:, 1] ** 2)
    zero = 0 * norm
    first = xp.stack([-d[:, 1] / norm, d[:, 0] / norm, zero], -1)
    second = xp.stack(
        [
            d[:, 1] * first[:, 2] - d[:, 2] * first[:, 1],
            d[:, 2] * first[:, 0] - d[:, 0] * first[:, 2],
            d[:, 0] * first[:, 1] - d[:, 1] * first[:, 0],
        ],
        -1,
    )
    position = (
        photons.conversion[:, None, :]
        + depth[..., None] * d[:, None, :]
        + (radius * xp.cos(angle))[..., None] * first[:, None, :]
        + (radius * xp.sin(angle))[..., None] * second[:, None, :]
    )
    share = arrays.exponential(n, k)
    energy = photons.energy[:, None] * share / share.sum(-1)[:, None]
    return position, energy * _inside(arrays, position), depth / c.SPEED_OF_LIGHT


def _inside(arrays: Arrays, position: Array) -> Array:
    """Return 1 where a position is in the xenon, else 0."""
    xp = arrays.xp
    x, y, z = position[..., 0], position[..., 1], position[..., 2]
    r = xp.sqrt(x * x + y * y)
    z_cap, r_cap, slope = END_CAP_HALF_LENGTH
    inside = (
        (r > c.R_EFF)
        & (r < c.R_OUTER)
        & (xp.abs(z) < z_cap + slope * (r - r_cap))
        & (-x > r * _COS_HALF_OPENING)
    )
    return xp.where(inside, 0 * r + 1, 0 * r)
