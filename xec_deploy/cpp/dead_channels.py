"""What dead channels would have read, by the position fit or by their neighbours."""

from __future__ import annotations

from functools import lru_cache
from typing import Final, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike

from xec_deploy import _cpp
from xec_deploy.cpp.arguments import (
    FloatArray,
    cpp_geometry,
    flags,
    native_events,
    thread_count,
)
from xec_deploy.cpp.position_fit import PositionFit
from xec_deploy.detector import Geometry, GeometryLike, load_geometry
from xec_deploy.errors import UsageError, nearest

__all__ = ["DEAD_METHODS", "DeadMethod", "predict_dead"]

DeadMethod = Literal["fit", "solid_angle", "neighbours"]
DEAD_METHODS: Final[tuple[str, ...]] = get_args(DeadMethod)


def predict_dead(
    npho: ArrayLike,
    dead: ArrayLike | None,
    fit: PositionFit | None = None,
    geometry: GeometryLike | None = None,
    *,
    method: DeadMethod = "fit",
    threads: int = 1,
) -> FloatArray:
    """Predict the photons of dead channels.

    A channel is dead if it is flagged, not finite or above 9e9.

    Parameters
    ----------
    npho, dead
        As for :func:`fit_position`.
    fit
        The result of :func:`fit_position` for these events; ``neighbours`` does without.
    geometry
        A geometry, the path of a sensor table, or None for the design.
    method
        ``fit``: scale times solid angle at the fitted point, for MPPCs.
        ``solid_angle``: the light of the live neighbours, same face within 20 cm, shared in
        proportion to solid angles; their plain mean if they have 50 photons or less in total, or
        if there is no point to see them from.
        ``neighbours``: that plain mean.
    threads
        Number of threads; it never changes a bit of the result.

    Returns
    -------
    npho
        (n, 4760) float64: the predictions, and NaN for live channels and where the method says
        nothing (a PMT or no fitted point for ``fit``, no live neighbour for the others).

    Raises
    ------
    UsageError
        If a shape, a type, the method, the fit or the number of threads is wrong.
    InputError
        If the sensor table cannot be used.
    """
    if method not in DEAD_METHODS:
        raise UsageError(
            f"no method {method!r} for dead channels", fix=nearest(method, DEAD_METHODS)
        )
    raw = native_events(npho, "npho")
    if fit is None and method != "neighbours":
        raise UsageError(
            f"the method {method!r} for dead channels needs a fit",
            fix="Pass the result of fit_position, or method='neighbours'.",
        )
    if fit is not None and len(fit) != len(raw):
        raise UsageError(f"the fit has {len(fit)} events, npho has {len(raw)}")
    return _cpp.predict_dead(
        _recovery(load_geometry(geometry)),
        raw,
        None if dead is None else flags(dead, len(raw)),
        None if fit is None else np.column_stack([fit.uvw_stage1, fit.uvw, fit.scale]),
        method,
        thread_count(threads),
    )


@lru_cache(maxsize=8)
def _recovery(geometry: Geometry) -> _cpp.DeadRecovery:
    return _cpp.DeadRecovery(cpp_geometry(geometry))
