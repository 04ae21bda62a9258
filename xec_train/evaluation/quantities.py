"""What is evaluated: the reconstructed quantities, their residuals and how wide those are."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from xec_deploy.bundle import TASK_OUTPUTS
from xec_deploy.physics.resolution import BOOTSTRAP_EVENTS, Resolution, resolution
from xec_deploy.physics.width import ONE_SIGMA, finite_values
from xec_deploy.report.quantities import QUANTITIES, Quantity

__all__ = [
    "CLASS_TRUTH",
    "DIRECTION",
    "EVALUATED",
    "OPENING",
    "containment",
    "residual_label",
    "residuals_of",
    "truth_names",
    "width_of",
]

FloatArray = NDArray[np.float64]

OPENING: Final = Quantity("opening", r"\psi", "Opening angle", "mrad", 1.0, "mrad", 1.0, None)
"""Angle between the true direction and the one of ``angleVec``: never negative."""
EVALUATED: Final = (*QUANTITIES, OPENING)
"""In the order of tables and plots."""
DIRECTION: Final = tuple(output.name for output in TASK_OUTPUTS["angleVec"])
CLASS_TRUTH: Final = "n_gamma"


def truth_names(task: str) -> tuple[str, ...]:
    """Return the names of a task's truth, one a component: those of its outputs, or the class."""
    if task == "n_gamma":
        return (CLASS_TRUTH,)
    return tuple(output.name for output in TASK_OUTPUTS[task])


def residuals_of(
    values: Mapping[str, NDArray[np.floating]], truth: Mapping[str, NDArray[np.floating]]
) -> dict[str, FloatArray]:
    """Return the residuals (n,) of what both sides have, by quantity, in its residual unit."""
    found: dict[str, FloatArray] = {}
    for quantity in QUANTITIES:
        if quantity.name in values and quantity.name in truth:
            mine, theirs = (
                np.asarray(side[quantity.name], dtype=np.float64) for side in (values, truth)
            )
            found[quantity.name] = quantity.residual(mine, theirs)
    if all(name in values and name in truth for name in DIRECTION):
        found[OPENING.name] = _opening(
            *(
                np.stack([np.asarray(side[name], dtype=np.float64) for name in DIRECTION])
                for side in (values, truth)
            )
        )
    return found


def width_of(name: str, residual: ArrayLike, *, replicas: int = 200) -> Resolution:
    """Return the figures of a quantity's residuals: `containment` for the opening angle."""
    estimator = containment if name == OPENING.name else resolution
    return estimator(residual, replicas=replicas)


def containment(values: ArrayLike, *, replicas: int = 200, seed: int = 20_240_190) -> Resolution:
    """Return below which value 68.27 % of something never negative lie, as ``sigma68``.

    An opening angle has no sign, so that neither a smallest interval nor a core is a resolution;
    those fields are NaN and the median stands as ``bias``.  For errors of sigma on each of two
    transverse axes the value is 1.52 sigma.
    """
    flat = np.ravel(np.asarray(values, dtype=np.float64))
    ordered = np.sort(finite_values(flat))
    n, excluded = len(ordered), len(flat) - len(ordered)
    nan = math.nan
    if n < 2:
        return Resolution(n, excluded, *(nan,) * 11)
    levels = (0.5, ONE_SIGMA)
    median, width = np.quantile(ordered, levels)
    median_error = width_error = nan
    if replicas > 1:
        random = np.random.default_rng(seed)
        size = min(n, BOOTSTRAP_EVENTS)
        samples = [
            np.quantile(ordered[random.integers(n, size=size)], levels) for _ in range(replicas)
        ]
        median_error, width_error = np.std(samples, axis=0, ddof=1) * math.sqrt(size / n)
    rms = math.sqrt(float(np.mean(ordered**2)))
    return Resolution(
        n=n,
        excluded=excluded,
        bias=float(median),
        bias_error=float(median_error),
        mean=float(ordered.mean()),
        mean_error=float(ordered.std()) / math.sqrt(n - 1),
        sigma68=float(width),
        sigma68_error=float(width_error),
        core_mean=nan,
        core_sigma=nan,
        core_sigma_error=nan,
        tail_fraction=nan,
        rms=rms,
    )


def residual_label(quantity: Quantity) -> str:
    """Axis label of a quantity's residual."""
    if quantity is OPENING:
        return r"$\psi$ to the true direction [mrad]"
    return quantity.residual_label


def _opening(first: FloatArray, second: FloatArray) -> FloatArray:
    """Angle [mrad] between directions (3, n) of any length; exact for small ones, unlike arccos."""
    across = np.linalg.norm(np.cross(first, second, axis=0), axis=0)
    along = (first * second).sum(axis=0)
    known = (across != 0) | (along != 0)
    return np.where(known, np.arctan2(across, along) * 1e3, np.nan)
