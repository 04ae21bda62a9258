"""The conventional reconstruction: position, energy and time of events."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike

from xec_deploy import _cpp
from xec_deploy.cpp.arguments import (
    FloatArray,
    cpp_geometry,
    flags,
    native_events,
    starts,
    thread_count,
)
from xec_deploy.cpp.position_fit import PositionFit
from xec_deploy.detector import Geometry, GeometryLike, load_geometry
from xec_deploy.errors import UsageError
from xec_deploy.physics.observables import cell_area, sensitive_area
from xec_deploy.reconstruction.constants import ReconstructionConstants, default_constants

__all__ = ["ConventionalReconstruction", "reconstruct"]


@dataclass(frozen=True, eq=False)
class ConventionalReconstruction:
    """Conventional results of n events, float64; NaN where the position fit has no point.

    Attributes
    ----------
    fit
        The position fit: the centre of the light.
    face_light
        (n, 6) weighted photons of each face, dead channels recovered.
    largest_solid_angle
        (n,) fraction of the sphere of the MPPC that sees most, from the fitted point.
    emission_time
        (n,) mean of t_i - r_i n / c over channels [s].
    uvw
        (n, 3) first interaction [cm].
    energy
        (n,) [GeV].
    timing
        (n,) [ns], in the frame of the channels' times.
    """

    fit: PositionFit
    face_light: FloatArray
    largest_solid_angle: FloatArray
    emission_time: FloatArray
    uvw: FloatArray
    energy: FloatArray
    timing: FloatArray

    def __len__(self) -> int:
        return len(self.energy)


def reconstruct(
    npho: ArrayLike,
    time: ArrayLike,
    dead: ArrayLike | None = None,
    start: ArrayLike | None = None,
    geometry: GeometryLike | None = None,
    *,
    constants: ReconstructionConstants | None = None,
    threads: int = 1,
) -> ConventionalReconstruction:
    """Reconstruct events as experiments do without a network.

    The position by :func:`fit_position`; the energy a weighted sum of photons, dead channels
    recovered from their neighbours; the time the mean emission time of channels with light.  The
    constants turn the centre of the light into the first interaction and sums into GeV and ns.

    Parameters
    ----------
    npho, time
        (n, 4760) photons and seconds, float32 or float64; (4760,) for one event.
    dead, start, geometry, threads
        As for :func:`fit_position`.
    constants
        Calibration, that of the project's simulation by default.

    Raises
    ------
    UsageError
        If a shape, a type, a constant or the number of threads is wrong.
    InputError
        If the sensor table cannot be used.
    """
    raw_npho, raw_time = native_events(npho, "npho"), native_events(time, "time")
    if raw_npho.shape != raw_time.shape:
        raise UsageError(f"npho has shape {raw_npho.shape} but time has {raw_time.shape}")
    dtype = np.result_type(raw_npho, raw_time)
    fit, light, largest, emission, uvw, energy, seconds = _cpp.reconstruct(
        _reconstruction(load_geometry(geometry), _Constants(constants or default_constants())),
        raw_npho.astype(dtype, copy=False),
        raw_time.astype(dtype, copy=False),
        None if dead is None else flags(dead, len(raw_npho)),
        None if start is None else starts(start, len(raw_npho)),
        thread_count(threads),
    )
    return ConventionalReconstruction(
        PositionFit(*fit), light, largest, emission, uvw, energy, seconds * 1e9
    )


class _Constants:
    """Constants as a key: by identity, because those with a record of their origin do not hash."""

    def __init__(self, values: ReconstructionConstants) -> None:
        self.values = values

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Constants) and self.values is other.values

    def __hash__(self) -> int:
        return id(self.values)


@lru_cache(maxsize=8)
def _reconstruction(geometry: Geometry, constants: _Constants) -> _cpp.Reconstruction:
    values = constants.values
    weight = values.sensor_weight or cell_area(geometry) / sensitive_area(geometry)
    try:
        return _cpp.Reconstruction(
            cpp_geometry(geometry),
            sensor_weight=list(weight),
            face_weight=values.face_weight,
            face_correction=[(item.u, item.v, item.w) for item in values.face_correction],
            **values.model_dump(
                exclude={"sensor_weight", "face_weight", "face_correction", "origin"}
            ),
        )
    except ValueError as error:
        raise UsageError(str(error), where="constants of the reconstruction") from error
