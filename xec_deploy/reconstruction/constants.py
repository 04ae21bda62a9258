"""Constants of the conventional reconstruction: run data for the detector, a file here.

The default ones come from the project's simulation and are wrong for data.
"""

from __future__ import annotations

from functools import lru_cache
from importlib.resources import files
from os import PathLike
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from xec_deploy.detector import N_SENSORS
from xec_deploy.errors import InputError

__all__ = ["FaceCorrection", "ReconstructionConstants", "default_constants"]

DEFAULT_FILE: Final = "constants.json"

Finite = Annotated[float, Field(allow_inf_nan=False)]
Polynomial = Annotated[tuple[Finite, ...], Field(min_length=1)]
"""Ascending coefficients."""
PerFace = Annotated[tuple[Finite, ...], Field(min_length=6, max_length=6)]
PerSensor = Annotated[tuple[Finite, ...], Field(min_length=N_SENSORS, max_length=N_SENSORS)]
Shift = Annotated[tuple[Finite, ...], Field(min_length=4, max_length=4)]


class _Constants(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class FaceCorrection(_Constants):
    """Product of polynomials in u, v and w [cm] of the fitted point, clamped to at least zero."""

    u: Polynomial = (1.0,)
    v: Polynomial = (1.0,)
    w: Polynomial = (1.0,)


class ReconstructionConstants(_Constants):
    """What sums of photons and a fitted point mean in GeV, cm and ns."""

    sensor_weight: PerSensor | None = None
    """Weight of each sensor's photons; None for the area of its face the sensor stands for over
    its sensitive area."""
    face_weight: PerFace
    """GeV for a photon of weight one on each face."""
    face_correction: Annotated[tuple[FaceCorrection, ...], Field(min_length=4, max_length=4)]
    """Of the inner face, the outer, upstream and downstream (with -u), top and bottom (with -v);
    evaluated within 24 and 68 cm of the middle and up to 30 cm of depth."""
    shallow_below: Finite = 0.0
    """Fitted w [cm] below which ``shallow`` applies."""
    shallow: Polynomial = (1.0,)
    """Factor of the inner face, in the logarithm of the largest solid angle of an MPPC."""
    recovery: Literal["solid_angle", "neighbours"] = "solid_angle"
    """Method that replaces dead channels in the sums, of :func:`xec_deploy.cpp.predict_dead`."""
    u: Shift = (0.0, 1.0, 0.0, 0.0)
    v: Shift = (0.0, 1.0, 0.0, 0.0)
    """u, v of the first interaction: a + x (b + c w + d x^2), x and w the fitted ones [cm]."""
    w: Polynomial = (0.0, 1.0)
    """w of the first interaction, in the fitted w up to 30 cm."""
    w_light: Polynomial = (0.0,)
    """Added to it, times the logarithm of the light in units of a million photons."""
    w_range: tuple[Finite, Finite] = (0.0, 45.0)
    """Bounds of the resulting w [cm]."""
    time: Polynomial = (0.0,)
    """Subtracted from the mean emission time [s], in the resulting w up to 20 cm."""
    time_light: Finite = 0.0
    """Added to that, times the logarithm of the light [s]."""
    origin: dict[str, Any] = {}
    """How the constants were made."""

    @classmethod
    def read(cls, path: str | PathLike[str]) -> ReconstructionConstants:
        """Read constants from a JSON file.

        Raises
        ------
        InputError
            If the file cannot be read or is not one of constants; the message names the first
            wrong value.
        """
        try:
            text = Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"cannot read the constants ({error})", where=str(path)) from error
        return _parse(text, str(path))


@lru_cache(maxsize=1)
def default_constants() -> ReconstructionConstants:
    """Return the constants fitted on the project's simulation.

    Made by ``python -m xec_deploy.reconstruction.calibration
    xec_deploy/reconstruction/constants.json``.
    """
    resource = files("xec_deploy.reconstruction") / DEFAULT_FILE
    return _parse(resource.read_text(encoding="utf-8"), DEFAULT_FILE)


def _parse(text: str, where: str) -> ReconstructionConstants:
    try:
        return ReconstructionConstants.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise InputError(
            f"constants of the reconstruction: {place or 'the file'}: {first['msg']}",
            where=where,
            fix="docs/reconstruction.md describes the file.",
        ) from error
