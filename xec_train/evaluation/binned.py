"""Resolutions in bins of the true energy and position."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from xec_deploy.physics.resolution import Profile, profile, resolution
from xec_train.evaluation.config import EvaluationConfig
from xec_train.evaluation.energy_curve import EnergyCurve, fit_energy_curve
from xec_train.evaluation.limits import mixture_sigma68
from xec_train.evaluation.quantities import OPENING, containment
from xec_train.evaluation.sample import Sample

__all__ = ["AXES", "axis_edges", "binned_limit", "binned_width", "energy_curve_of"]

FloatArray = NDArray[np.float64]
AXES: Final = ("energy", "u", "v", "w")
"""What resolutions are shown against, beside the share of dead channels."""
ENERGY_BINS: Final = 9
DEPTH_EDGES: Final = (0.0, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 11.0, 15.0, 20.0)
U_EDGES: Final = tuple(np.linspace(-23.9, 23.9, 9).tolist())
V_EDGES: Final = tuple(np.linspace(-67.9, 67.9, 11).tolist())


def axis_edges(sample: Sample) -> dict[str, FloatArray]:
    """Return the bin edges of each axis the sample has the truth of."""
    fixed = {"u": U_EDGES, "v": V_EDGES, "w": DEPTH_EDGES}
    found: dict[str, FloatArray] = {}
    for axis in AXES:
        if axis not in sample.truth:
            continue
        if axis != "energy":
            found[axis] = np.array(fixed[axis])
            continue
        values = sample.truth[axis][np.isfinite(sample.truth[axis])]
        # Of a line there is nothing to show against.
        if len(values) and values.max() - values.min() > 1e-3 * values.max():
            found[axis] = np.linspace(values.min(), values.max(), ENERGY_BINS + 1)
    return found


def binned_width(
    name: str,
    residual: FloatArray,
    variable: NDArray[np.floating],
    inside: NDArray[np.bool_],
    edges: FloatArray,
    replicas: int,
    config: EvaluationConfig,
) -> Profile:
    """Return the width of a quantity in bins; too few events give NaN."""
    estimator = containment if name == OPENING.name else resolution
    found = profile(
        residual[inside], variable[inside], edges, replicas=replicas, estimator=estimator
    )
    points = tuple(
        point if point.n >= config.min_bin_events else resolution([]) for point in found.points
    )
    return Profile(found.edges, found.centre, points, found.outside)


def binned_limit(
    limit: NDArray[np.floating],
    variable: NDArray[np.floating],
    inside: NDArray[np.bool_],
    edges: FloatArray,
) -> FloatArray:
    """Return the width at the limit in bins."""
    bins = np.digitize(variable, edges) - 1
    return np.array([mixture_sigma68(limit[inside & (bins == i)]) for i in range(len(edges) - 1)])


def energy_curve_of(found: Profile) -> EnergyCurve | None:
    """Fit the curve of a profile against energy [GeV]; None with too few points."""
    return fit_energy_curve(found.centre, found.values("sigma68"), found.values("sigma68_error"))
