"""The C++ position fit and dead-channel predictions against the experiment's macro."""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from xec_deploy.cpp import fit_position, predict_dead
from xec_deploy.detector import GeometryLike
from xec_deploy.errors import InputError
from xec_deploy.gates import MacroGates
from xec_deploy.parity.results import MacroComparison

__all__ = ["MacroMeasurement", "compare_with_macro", "judge_macro", "measure_macro"]

Arrays = dict[str, NDArray[Any]]

ARRAYS = (
    *("npho", "dead", "uvw_start", "uvw_stage1", "uvw_fit", "fit_chisq_ndf"),
    *("dead_event_idx", "dead_sensor", "dead_npho_pred"),
)


@dataclass(frozen=True)
class MacroMeasurement:
    """The C++ fit and the macro's, event by event.

    Attributes
    ----------
    stage1, fit
        (n, 3) C++ less macro [cm].
    chi2, macro_chi2
        (n,) chi-square per degree of freedom of both.
    dead_event
        (m,) index of the event of each dead channel's prediction.
    dead, macro_dead
        (m,) predicted photons of both.
    """

    stage1: NDArray[np.float64]
    fit: NDArray[np.float64]
    chi2: NDArray[np.float64]
    macro_chi2: NDArray[np.float64]
    dead_event: NDArray[np.int64]
    dead: NDArray[np.float64]
    macro_dead: NDArray[np.float64]


def compare_with_macro(
    path: str | PathLike[str], geometry: GeometryLike | None, gates: MacroGates
) -> tuple[MacroComparison, ...]:
    """Fit the macro's events and compare both stages and the predictions, event by event.

    Parameters and errors are those of :func:`measure_macro` and :func:`judge_macro`.
    """
    return judge_macro(measure_macro(path, geometry), gates)


def measure_macro(path: str | PathLike[str], geometry: GeometryLike | None) -> MacroMeasurement:
    """Fit the macro's events and predict their dead channels.

    Parameters
    ----------
    path
        ``.npz`` of the macro's inputs (``npho``, ``dead``, ``uvw_start``) and results
        (``uvw_stage1``, ``uvw_fit``, ``fit_chisq_ndf``; per dead MPPC ``dead_event_idx``,
        ``dead_sensor``, ``dead_npho_pred``).
    geometry
        The geometry the macro ran with.

    Raises
    ------
    InputError
        If the file cannot be used.
    """
    macro = _load(path)
    fit = fit_position(macro["npho"], macro["dead"], macro["uvw_start"], geometry)
    predicted = predict_dead(macro["npho"], macro["dead"], fit, geometry)
    event = macro["dead_event_idx"].astype(np.int64)
    return MacroMeasurement(
        stage1=np.asarray(fit.uvw_stage1 - macro["uvw_stage1"]),
        fit=np.asarray(fit.uvw - macro["uvw_fit"]),
        chi2=np.asarray(fit.chi2_ndf),
        macro_chi2=macro["fit_chisq_ndf"].astype(np.float64),
        dead_event=event,
        dead=predicted[event, macro["dead_sensor"].astype(int)].astype(np.float64),
        macro_dead=macro["dead_npho_pred"].astype(np.float64),
    )


def judge_macro(measured: MacroMeasurement, gates: MacroGates) -> tuple[MacroComparison, ...]:
    """Compare both stages and the predictions of dead channels with the tolerances."""
    stage1 = np.abs(measured.stage1).max(axis=1)
    return (
        _comparison("stage 1", "cm", stage1, gates.stage1_cm, stage1 <= gates.stage1_cm),
        *_second_stage(measured, gates),
        _dead_channels(measured, gates),
    )


def _load(path: str | PathLike[str]) -> Arrays:
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in ARRAYS}
    except (OSError, ValueError, KeyError, BadZipFile) as error:
        raise InputError(
            f"the macro's results cannot be read ({error})",
            where=str(path),
            fix=f"It must be an .npz file with {', '.join(ARRAYS)}.",
        ) from error


def _second_stage(measured: MacroMeasurement, gates: MacroGates) -> tuple[MacroComparison, ...]:
    distance = np.abs(measured.fit)
    # Where the macro had stopped early, a better chi-square is no disagreement.
    as_good = measured.chi2 <= measured.macro_chi2 * (1 + gates.chi2_relative)
    near = _agreeing(measured, gates)
    return tuple(
        _comparison(f"fit {axis}", "cm", distance[:, i], tolerance, near | as_good)
        for i, (axis, tolerance) in enumerate(zip("uvw", gates.fit_cm, strict=True))
    )


def _dead_channels(measured: MacroMeasurement, gates: MacroGates) -> MacroComparison:
    agreeing = _agreeing(measured, gates)[measured.dead_event]
    predicted, expected = measured.dead[agreeing], measured.macro_dead[agreeing]
    difference = np.abs(predicted - expected)
    good = difference <= gates.dead_photons + gates.dead_relative * np.abs(expected)
    relative = difference / np.maximum(np.abs(expected), gates.dead_photons / gates.dead_relative)
    return _comparison("dead channels, relative", None, relative, gates.dead_relative, good)


def _agreeing(measured: MacroMeasurement, gates: MacroGates) -> NDArray[np.bool_]:
    within = np.abs(measured.fit) <= np.asarray(gates.fit_cm)
    return np.asarray(within.all(axis=1))


def _comparison(
    quantity: str,
    unit: str | None,
    difference: NDArray[np.float64],
    tolerance: float,
    good: NDArray[np.bool_],
) -> MacroComparison:
    # A value that is not a number is not good: every comparison with NaN is false.
    within = difference <= tolerance
    finite = difference[np.isfinite(difference)]
    p50, p99, maximum = np.quantile(finite, [0.5, 0.99, 1]) if len(finite) else (0, 0, 0)
    return MacroComparison(
        quantity=quantity,
        unit=unit,
        values=len(difference),
        tolerance=tolerance,
        within=int(within.sum()),
        better=int((good & ~within).sum()),
        failed=int((~good).sum()),
        p50=float(p50),
        p99=float(p99),
        maximum=float(maximum),
    )
