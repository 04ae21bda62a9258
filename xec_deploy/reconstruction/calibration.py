"""Fit of the constants of the conventional reconstruction on events with truth.

``python -m xec_deploy.reconstruction.calibration OUT.json`` fits them on 10 000 simulated events,
those the simple estimates are fitted on.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from xec_deploy import cpp
from xec_deploy.cpp import ConventionalReconstruction
from xec_deploy.detector import constants as c
from xec_deploy.detector.geometry import GeometryLike
from xec_deploy.errors import InputError, UsageError
from xec_deploy.physics.calibration import (
    LabelledEvents,
    calibration_sample,
    trimmed_least_squares,
)
from xec_deploy.reconstruction.constants import FaceCorrection, ReconstructionConstants

__all__ = ["calibrate"]

FloatArray = NDArray[np.float64]

MINIMUM_EVENTS: Final = 1000
UNIT: Final = np.array([24.0, 68.0, 10.0])
"""Scale of u, v, w [cm] in which the face corrections are fitted, to about one."""
WITHIN: Final = np.array([24.0, 68.0, 30.0])
"""Where face corrections are evaluated [cm], as in the C++ library."""
DEGREE: Final = 3
GROUP: Final = np.array([0, 1, 2, 2, 3, 3])
MIRROR: Final = np.array([[1, 1], [1, 1], [1, 1], [-1, 1], [1, 1], [1, -1]])
"""Correction of each face, and the signs of u and v in it, as in the C++ library."""
SPREAD: Final = 0.03
"""Relative deviations beyond this count less and less: showers that leak are no calibration."""
STIFFNESS: Final = 0.1
"""Size of a correction's coefficient that costs as much as one event ``SPREAD`` off."""


def calibrate(
    events: Iterable[LabelledEvents],
    *,
    geometry: GeometryLike | None = None,
    origin: Mapping[str, Any] | None = None,
) -> ReconstructionConstants:
    """Fit the constants on events with truth.

    Least squares in the fiducial volume: relative energy, with the corrections of the faces kept
    small where the events do not ask for them; u, v, w and time linear in their coefficients, the
    worst tenth dropped once.

    Parameters
    ----------
    events
        Batches; a spectrum of energies and depths like that of the events to be reconstructed.
    geometry
        Sensor positions, the design by default.
    origin
        Kept with the constants, to say where they come from.

    Raises
    ------
    InputError
        If there are fewer than 1000 usable events.
    """
    neutral = ReconstructionConstants(
        face_weight=(1.0,) * 6, face_correction=(FaceCorrection(),) * 4
    )
    parts: list[tuple[FloatArray, ...]] = []
    for batch in events:
        seen = cpp.reconstruct(
            np.asarray(batch.npho), np.asarray(batch.time), batch.dead, geometry=geometry,
            constants=neutral,
        )  # fmt: skip
        truth = (batch.energy, batch.timing, batch.uvw)
        energy, timing, uvw = (np.asarray(values, dtype=np.float64) for values in truth)
        usable = _usable(seen, uvw, energy)
        delay = seen.emission_time - timing * 1e-9
        columns = (seen.fit.uvw, seen.face_light, delay, energy, uvw)
        parts.append(tuple(column[usable] for column in columns))
    count = sum(len(part[0]) for part in parts)
    if count < MINIMUM_EVENTS:
        raise InputError(
            f"{count} events with a position fit, truth and in the fiducial volume",
            where="calibration of the reconstruction",
            fix=f"At least {MINIMUM_EVENTS} are needed.",
        )
    fitted, light, delay, energy, uvw = (
        np.concatenate(column) for column in zip(*parts, strict=True)
    )
    face_weight, face_correction = _energy_constants(light / energy[:, None], fitted)

    depth = np.clip(fitted[:, 2], 0.0, WITHIN[2])
    log_light = np.log(light.sum(axis=1) / 1e6)
    powers = np.vander(depth, 5, increasing=True)
    terms = np.column_stack([powers, powers[:, :3] * log_light[:, None]])
    w = trimmed_least_squares(terms, uvw[:, 2])
    w_range = (0.0, float(np.quantile(uvw[:, 2], 0.999)))
    estimated = np.clip(terms @ np.array(w), *w_range)
    late = np.vander(np.clip(estimated, 0.0, 20.0), 4, increasing=True)
    time = trimmed_least_squares(np.column_stack([late, log_light]), delay)
    return ReconstructionConstants(
        face_weight=face_weight,
        face_correction=face_correction,
        u=_shift(fitted[:, 0], depth, uvw[:, 0]),
        v=_shift(fitted[:, 1], depth, uvw[:, 1]),
        w=w[:5],
        w_light=w[5:],
        w_range=w_range,
        time=time[:4],
        time_light=time[4],
        origin={"events": count, **(origin or {})},
    )


def _usable(
    seen: ConventionalReconstruction, uvw: FloatArray, energy: FloatArray
) -> NDArray[np.bool_]:
    inside = (np.abs(uvw[:, 0]) < c.FIDUCIAL_U) & (np.abs(uvw[:, 1]) < c.FIDUCIAL_V)
    inside &= (uvw[:, 2] > 0) & (uvw[:, 2] < c.FIDUCIAL_W) & (energy > 0)
    good = (seen.fit.status == cpp.FitStatus.GOOD) & (seen.face_light.sum(axis=1) > 0)
    return np.asarray(inside & good & np.isfinite(seen.emission_time), dtype=np.bool_)


def _energy_constants(
    light: FloatArray, fitted: FloatArray
) -> tuple[tuple[float, ...], tuple[FaceCorrection, ...]]:
    """Return weights and corrections of the faces that take light (n, 6) per GeV to one.

    A correction is a product of polynomials, one in each coordinate, that start at 1.
    """
    first = np.array(trimmed_least_squares(light, np.ones(len(light))))
    within = np.clip(fitted, [*-WITHIN[:2], 0.0], WITHIN) / UNIT
    powers = within[:, None, :] ** np.arange(1, DEGREE + 1)[:, None]  # (n, degree, coordinate)
    odd = np.arange(1, DEGREE + 1) % 2 == 1
    mirrored = np.repeat(powers[:, None], 6, axis=1)  # (n, face, degree, coordinate)
    for face, signs in enumerate(MIRROR):
        mirrored[:, face, odd, :2] *= signs

    def split(parameters: FloatArray) -> tuple[FloatArray, FloatArray]:
        return first * (1 + parameters[:6]), parameters[6:].reshape(4, DEGREE, 3)

    def deviation(parameters: FloatArray) -> FloatArray:
        weight, correction = split(parameters)
        factor = 1 + np.einsum("nfdk,fdk->nfk", mirrored, correction[GROUP])
        relative = (light * factor.prod(axis=2)) @ weight - 1
        penalty = parameters[6:] * (SPREAD / STIFFNESS)
        return np.concatenate([relative, penalty])

    start = np.zeros(6 + 4 * DEGREE * 3)
    found = least_squares(deviation, start, loss="soft_l1", f_scale=SPREAD, max_nfev=50)
    weight, correction = split(found.x)
    in_cm = correction / UNIT ** np.arange(1, DEGREE + 1)[:, None]
    polynomials = [
        [(1.0, *map(float, group[:, coordinate])) for coordinate in range(3)] for group in in_cm
    ]
    return (
        tuple(map(float, weight)),
        tuple(FaceCorrection(u=u, v=v, w=w) for u, v, w in polynomials),
    )


def _shift(x: FloatArray, depth: FloatArray, true: FloatArray) -> tuple[float, ...]:
    return trimmed_least_squares(np.column_stack([np.ones_like(x), x, x * depth, x**3]), true)


def main(arguments: list[str]) -> None:
    """Fit on the project's simulation and write the constants to a JSON file."""
    if len(arguments) != 1:
        raise UsageError("give the JSON file to write and nothing else")
    events, origin = calibration_sample()
    origin["command"] = "python -m xec_deploy.reconstruction.calibration"
    constants = calibrate(events, origin=origin)
    text = constants.model_dump_json(indent=1, exclude={"sensor_weight"})
    Path(arguments[0]).write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
