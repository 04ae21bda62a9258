"""The C++ position fit and dead-channel predictions against the experiment's macro."""

from __future__ import annotations

from os import PathLike
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from xec_deploy.cpp import PositionFit, fit_position, predict_dead
from xec_deploy.detector import GeometryLike
from xec_deploy.errors import InputError
from xec_deploy.gates import MacroGates
from xec_deploy.parity.results import MacroComparison

__all__ = ["compare_with_macro"]

Arrays = dict[str, NDArray[Any]]

ARRAYS = (
    *("npho", "dead", "uvw_start", "uvw_stage1", "uvw_fit", "fit_chisq_ndf"),
    *("dead_event_idx", "dead_sensor", "dead_npho_pred"),
)


def compare_with_macro(
    path: str | PathLike[str], geometry: GeometryLike | None, gates: MacroGates
) -> tuple[MacroComparison, ...]:
    """Fit the macro's events and compare both stages and the predictions, event by event.

    Parameters
    ----------
    path
        ``.npz`` of the macro's inputs (``npho``, ``dead``, ``uvw_start``) and results
        (``uvw_stage1``, ``uvw_fit``, ``fit_chisq_ndf``; per dead MPPC ``dead_event_idx``,
        ``dead_sensor``, ``dead_npho_pred``).
    geometry
        The geometry the macro ran with.
    gates
        Tolerances.

    Raises
    ------
    InputError
        If the file cannot be used.
    """
    macro = _load(path)
    fit = fit_position(macro["npho"], macro["dead"], macro["uvw_start"], geometry)
    return (
        _first_stage(macro, fit, gates),
        *_second_stage(macro, fit, gates),
        _dead_channels(macro, fit, geometry, gates),
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


def _first_stage(macro: Arrays, fit: PositionFit, gates: MacroGates) -> MacroComparison:
    distance = np.abs(fit.uvw_stage1 - macro["uvw_stage1"]).max(axis=1)
    return _comparison("stage 1", "cm", distance, gates.stage1_cm, distance <= gates.stage1_cm)


def _second_stage(
    macro: Arrays, fit: PositionFit, gates: MacroGates
) -> tuple[MacroComparison, ...]:
    distance = np.abs(fit.uvw - macro["uvw_fit"])
    # Where the macro had stopped early, a better chi-square is no disagreement.
    as_good = fit.chi2_ndf <= macro["fit_chisq_ndf"] * (1 + gates.chi2_relative)
    near = _agreeing(macro, fit, gates)
    return tuple(
        _comparison(f"fit {axis}", "cm", distance[:, i], tolerance, near | as_good)
        for i, (axis, tolerance) in enumerate(zip("uvw", gates.fit_cm, strict=True))
    )


def _dead_channels(
    macro: Arrays, fit: PositionFit, geometry: GeometryLike | None, gates: MacroGates
) -> MacroComparison:
    predicted = predict_dead(macro["npho"], macro["dead"], fit, geometry)
    agreeing = _agreeing(macro, fit, gates)[macro["dead_event_idx"].astype(int)]
    event = macro["dead_event_idx"].astype(int)[agreeing]
    sensor = macro["dead_sensor"].astype(int)[agreeing]
    expected = macro["dead_npho_pred"].astype(np.float64)[agreeing]
    difference = np.abs(predicted[event, sensor] - expected)
    good = difference <= gates.dead_photons + gates.dead_relative * np.abs(expected)
    relative = difference / np.maximum(np.abs(expected), gates.dead_photons / gates.dead_relative)
    return _comparison("dead channels, relative", None, relative, gates.dead_relative, good)


def _agreeing(macro: Arrays, fit: PositionFit, gates: MacroGates) -> NDArray[np.bool_]:
    within = np.abs(fit.uvw - macro["uvw_fit"]) <= np.asarray(gates.fit_cm)
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
