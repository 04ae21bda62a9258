"""Predicted uncertainties against observed errors."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from xec_deploy.errors import UsageError
from xec_deploy.physics.resolution import Resolution, resolution
from xec_train.evaluation.limits import mixture_sigma68

__all__ = ["CalibrationPoint", "Coverage", "PullSummary", "summarise_pulls"]

FloatArray = NDArray[np.float64]
BINS: Final = 10
MINIMUM_PER_BIN: Final = 50


@dataclass(frozen=True)
class Coverage:
    """Share of events whose truth is within some predicted sigma.

    Attributes
    ----------
    sigmas
        Number of sigma.
    expected, observed, error
        The Gaussian share, the observed one and its binomial error.
    """

    sigmas: float
    expected: float
    observed: float
    error: float


@dataclass(frozen=True)
class CalibrationPoint:
    """Events of similar predicted sigma, in the residual's unit.

    Attributes
    ----------
    n
        Events.
    predicted
        sigma68 that residuals of the predicted sigmas would have.
    observed, observed_error
        sigma68 of the residuals.
    """

    n: int
    predicted: float
    observed: float
    observed_error: float


@dataclass(frozen=True)
class PullSummary:
    """How well a predicted sigma describes the residuals.

    Attributes
    ----------
    pull
        Figures of residual / sigma; a perfect prediction has bias 0 and sigma68 1.
    coverage
        At one and two sigma.
    calibration
        Bins of equal population, ascending in predicted sigma.
    calibration_error
        Mean over bins, weighted by events, of |observed - predicted| / predicted.  It is that of
        D. Levi et al., Sensors 22 (2022) 5540 (ENCE), with sigma68 for the root mean square, which
        tails would dominate.  Statistical fluctuation makes it positive for a perfect
        prediction too, by ``calibration_error_expected``.
    calibration_error_expected
        Its expectation for a perfect prediction.
    """

    pull: Resolution
    coverage: tuple[Coverage, ...]
    calibration: tuple[CalibrationPoint, ...]
    calibration_error: float
    calibration_error_expected: float


def summarise_pulls(
    residual: ArrayLike, sigma: ArrayLike, *, replicas: int = 100
) -> PullSummary | None:
    """Compare residuals (n,) with their predicted sigmas (n,), in the same unit.

    Events without a finite residual or a positive finite sigma are left out; None without any.

    Raises
    ------
    UsageError
        If the shapes differ.
    """
    errors, widths = (np.asarray(part, dtype=np.float64) for part in (residual, sigma))
    if errors.ndim != 1 or errors.shape != widths.shape:
        raise UsageError(
            f"residual and sigma have shapes {errors.shape} and {widths.shape}",
            fix="Pass one value of each for every event.",
        )
    known = np.isfinite(errors) & np.isfinite(widths) & (widths > 0)
    errors, widths = errors[known], widths[known]
    if len(errors) < 2:
        return None
    pull = errors / widths
    points = _calibration(errors, widths, replicas)
    n = sum(point.n for point in points)
    return PullSummary(
        pull=resolution(pull, replicas=replicas),
        coverage=tuple(_coverage(pull, sigmas) for sigmas in (1.0, 2.0)),
        calibration=points,
        calibration_error=math.fsum(
            point.n * abs(point.observed - point.predicted) / point.predicted for point in points
        )
        / n,
        # Mean of |x| for a normal x is sqrt(2 / pi) of its sigma.
        calibration_error_expected=math.sqrt(2 / math.pi)
        * math.fsum(point.n * point.observed_error / point.predicted for point in points)
        / n,
    )


def _coverage(pull: FloatArray, sigmas: float) -> Coverage:
    observed = float(np.mean(np.abs(pull) <= sigmas))
    return Coverage(
        sigmas=sigmas,
        expected=math.erf(sigmas / math.sqrt(2)),
        observed=observed,
        error=math.sqrt(observed * (1 - observed) / len(pull)),
    )


def _calibration(
    errors: FloatArray, widths: FloatArray, replicas: int
) -> tuple[CalibrationPoint, ...]:
    bins = min(BINS, max(1, len(errors) // MINIMUM_PER_BIN))
    points = []
    for members in np.array_split(np.argsort(widths, kind="stable"), bins):
        observed = resolution(errors[members], replicas=replicas)
        points.append(
            CalibrationPoint(
                n=len(members),
                predicted=mixture_sigma68(widths[members]),
                observed=observed.sigma68,
                observed_error=observed.sigma68_error,
            )
        )
    return tuple(points)
