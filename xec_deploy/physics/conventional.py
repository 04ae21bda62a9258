"""The simple conventional estimates a network is compared with.

* energy, `charge_sum`: photons through each face, weighted, with a correction in depth;
* position, `charge_centroid`: windowed centroid on the inner face, depth from the width of the
  light distribution there and its share of all light;
* time: mean of t_i - r_i n / c over good channels, from the estimated position;
* angle: direction of the estimated position as seen from the origin, the middle of the target.

They take no more than sums, so they run at some hundred events a second in NumPy, and are *not*
the experiment's reconstruction: its position fit is in the C++ library.  What the sums mean in
GeV and cm are a few constants, fitted by :func:`~xec_deploy.physics.calibration.calibrate`; the
default ones come from the project's simulation and are wrong for data.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import lru_cache
from importlib.resources import files
from os import PathLike
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from xec_deploy.detector.coordinates import direction_to_angles, uvw_to_xyz
from xec_deploy.detector.geometry import Geometry
from xec_deploy.errors import InputError, nearest
from xec_deploy.physics.observables import (
    ChargeObservables,
    charge_observables,
    mean_emission_time,
)

__all__ = [
    "ConventionalConstants",
    "ConventionalEstimates",
    "centroid_angle",
    "charge_centroid",
    "charge_sum",
    "default_constants",
    "estimate",
    "position_terms",
]

FloatArray = NDArray[np.float64]
DEFAULT_FILE = "conventional.json"


@dataclass(frozen=True)
class ConventionalConstants:
    """Calibration of the simple estimates.

    Attributes
    ----------
    face_weight
        GeV for each photon through the six faces.
    energy_of_w
        Polynomial in min(w, 20 cm) [cm], ascending, that the weighted sum is divided by.
    u, v
        Coefficients of :func:`position_terms` for each coordinate.
    w
        Coefficients of :func:`depth_terms` [cm].
    w_range
        Estimates of w are clipped to this range [cm].
    time
        Coefficients of :func:`time_terms`, whose sum the mean emission time is reduced by [s].
    origin
        How the constants were made.
    """

    face_weight: tuple[float, ...]
    energy_of_w: tuple[float, ...]
    u: tuple[float, ...]
    v: tuple[float, ...]
    w: tuple[float, ...]
    w_range: tuple[float, ...]
    time: tuple[float, ...]
    origin: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return plain lists and numbers for JSON."""
        return {
            name: list(value) if isinstance(value, tuple) else dict(value)
            for name, value in asdict(self).items()
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], *, where: str = "constants") -> Self:
        """Make constants of what :meth:`to_dict` gave.

        Raises
        ------
        InputError
            If a name is unknown or missing, or a value is not a list of finite numbers.
        """
        names = {item.name for item in fields(cls)}
        for name in values.keys() - names:
            raise InputError(f"unknown constant {name!r}", where=where, fix=nearest(name, names))
        numbers: dict[str, Any] = {"origin": dict(values.get("origin", {}))}
        for name in sorted(names - {"origin"}):
            try:
                numbers[name] = tuple(float(value) for value in values[name])
            except (KeyError, TypeError, ValueError) as error:
                raise InputError(f"no list of numbers {name!r}", where=where) from error
            if not numbers[name] or not all(map(math.isfinite, numbers[name])):
                raise InputError(f"{name!r} has no or infinite values", where=where)
        return cls(**numbers)

    @classmethod
    def read(cls, path: str | PathLike[str]) -> Self:
        """Read constants from a JSON file.

        Raises
        ------
        InputError
            If the file cannot be read or is not one of constants.
        """
        try:
            values = json.loads(Path(path).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(f"cannot read the constants ({error})", where=str(path)) from error
        if not isinstance(values, dict):
            raise InputError("the constants are not a JSON object", where=str(path))
        return cls.from_dict(values, where=str(path))


@dataclass(frozen=True, eq=False)
class ConventionalEstimates:
    """Simple estimates of n events, each (n,) float64, NaN where there is none.

    ``energy`` in GeV; ``theta``, ``phi`` in degrees; ``timing`` in ns, in the frame of the
    relative times; ``u``, ``v``, ``w``, ``x``, ``y``, ``z`` in cm: the names and units of the
    branches ``infer`` writes.
    """

    energy: FloatArray
    theta: FloatArray
    phi: FloatArray
    timing: FloatArray
    u: FloatArray
    v: FloatArray
    w: FloatArray
    x: FloatArray
    y: FloatArray
    z: FloatArray

    def to_dict(self) -> dict[str, FloatArray]:
        """Return the arrays by name."""
        return {item.name: getattr(self, item.name) for item in fields(self)}


@lru_cache(maxsize=1)
def default_constants() -> ConventionalConstants:
    """Return the constants fitted on the project's simulation.

    Made by ``python -m xec_deploy.physics.calibration xec_deploy/physics/conventional.json``.
    """
    resource = files("xec_deploy.physics") / DEFAULT_FILE
    values = json.loads(resource.read_text(encoding="utf-8"))
    return ConventionalConstants.from_dict(values, where=DEFAULT_FILE)


def estimate(
    npho: ArrayLike,
    time: ArrayLike,
    dead: ArrayLike,
    *,
    constants: ConventionalConstants | None = None,
    geometry: Geometry | None = None,
) -> ConventionalEstimates:
    """Return all simple estimates of a batch.

    Parameters
    ----------
    npho, time
        (n, 4760) raw photons and seconds; above 9e9 or not finite means invalid.
    dead
        (n, 4760) bool.
    constants
        Calibration, that of the project's simulation by default.
    geometry
        Sensor positions, the design by default.
    """
    constants = constants or default_constants()
    observables = charge_observables(npho, dead, geometry=geometry)
    uvw = charge_centroid(observables, constants)
    xyz = uvw_to_xyz(uvw)
    angle = centroid_angle(uvw)
    emission = mean_emission_time(npho, time, dead, uvw, geometry=geometry)
    timing = emission - time_terms(observables, uvw[:, 2]) @ np.array(constants.time)
    return ConventionalEstimates(
        energy=charge_sum(observables, uvw[:, 2], constants),
        theta=angle[:, 0],
        phi=angle[:, 1],
        timing=timing * 1e9,
        u=uvw[:, 0],
        v=uvw[:, 1],
        w=uvw[:, 2],
        x=xyz[:, 0],
        y=xyz[:, 1],
        z=xyz[:, 2],
    )


def charge_sum(
    observables: ChargeObservables,
    w: FloatArray | None = None,
    constants: ConventionalConstants | None = None,
) -> FloatArray:
    """Return the energy (n,) [GeV] as the weighted sum over faces, corrected in depth.

    Without ``w`` (n,) [cm] there is no correction.
    """
    constants = constants or default_constants()
    energy = observables.face_sum @ np.array(constants.face_weight)
    energy = np.asarray(energy, dtype=np.float64)
    return energy if w is None else energy / _polynomial(constants.energy_of_w, w)


def charge_centroid(
    observables: ChargeObservables, constants: ConventionalConstants | None = None
) -> FloatArray:
    """Return the position of the first interaction, uvw (n, 3) [cm]."""
    constants = constants or default_constants()
    low, high = constants.w_range
    w = np.clip(depth_terms(observables) @ np.array(constants.w), low, high)
    u, v = (
        position_terms(observables, axis) @ np.array(coefficients)
        for axis, coefficients in enumerate((constants.u, constants.v))
    )
    return np.stack([u, v, w], axis=1)


def centroid_angle(uvw: ArrayLike) -> FloatArray:
    """Return theta and phi (n, 2) [deg] of a photon from the origin to the position (n, 3)."""
    return direction_to_angles(uvw_to_xyz(uvw))


def position_terms(observables: ChargeObservables, axis: int) -> FloatArray:
    """Return the terms (n, 6) that u (axis 0) or v (axis 1) is linear in.

    Constant; the centroid and its third and fifth power (light is lost at the ends of the face);
    its product with the width and its square (the shower starts nearer to the target than the
    centre of its light).
    """
    x, width = observables.centroid[:, axis], observables.width
    scaled = x / 70.0
    return np.stack(
        [np.ones_like(x), x, scaled**3, scaled**5, scaled * width, scaled * width**2], axis=1
    )


def depth_terms(observables: ChargeObservables) -> FloatArray:
    """Return the terms (n, 18) that w is linear in.

    share^i width^j with i + j <= 4, i the slower index; then the logarithm of the light alone,
    times share and times width: the higher the energy, the farther behind the first interaction
    is the middle of the shower.
    """
    share, width, light = observables.share, observables.width, _log_light(observables)
    terms = [share**i * width**j for i in range(5) for j in range(5 - i)]
    return np.stack([*terms, light, light * share, light * width], axis=1)


def time_terms(observables: ChargeObservables, w: FloatArray) -> FloatArray:
    """Return the terms (n, 5) of the time offset: w^0 to w^3 (to 20 cm), logarithm of the light."""
    powers = np.vander(depth_argument(w), 4, increasing=True)
    return np.column_stack([powers, _log_light(observables)])


def depth_argument(w: FloatArray) -> FloatArray:
    """Return min(max(w, 0), 20) [cm]: beyond, too few events constrain a polynomial."""
    return np.clip(w, 0.0, 20.0)


def _log_light(observables: ChargeObservables) -> FloatArray:
    total = observables.face_sum.sum(axis=1)
    positive = total > 0
    return np.where(positive, np.log(np.where(positive, total, 1.0) / 1e6), np.nan)


def _polynomial(coefficients: tuple[float, ...], w: FloatArray) -> FloatArray:
    values = np.polynomial.polynomial.polyval(depth_argument(w), np.array(coefficients))
    return np.asarray(values, dtype=np.float64)
