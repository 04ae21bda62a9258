"""The position fit of the C++ library as a method, raw and corrected for its bias."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from xec_deploy.cpp import fit_position
from xec_deploy.physics.conventional import centroid_angle
from xec_train.data import RawBatch
from xec_train.evaluation.correction import PositionCorrection, cross_corrected
from xec_train.evaluation.methods import Estimates, Kind
from xec_train.evaluation.sample import Condition, Sample

__all__ = ["FIT", "FIT_RAW", "PositionFitMethod", "with_corrected_fit"]

FloatArray = NDArray[np.float64]
FIT: Final = "fit"
"""Name of the corrected fit."""
FIT_RAW: Final = "fit_raw"
"""Name of the fit as it is."""
SCALE: Final = "scale"
POSITION: Final = ("u", "v", "w")


@dataclass(frozen=True)
class PositionFitMethod:
    """The two-stage fit of `xec_deploy.cpp.fit_position`, on one thread for each of torch's."""

    name: str = FIT_RAW
    kind: Kind = "conventional"

    def estimate(self, batch: RawBatch) -> Estimates:
        """Fit the events of a batch: u, v, w [cm] and the scale, NaN where a fit failed."""
        fit = fit_position(batch.npho.numpy(), batch.dead.numpy(), threads=torch.get_num_threads())
        columns = zip((*POSITION, SCALE), (*fit.uvw.T, fit.scale), strict=True)
        return Estimates({name: values.astype(np.float32) for name, values in columns})

    def describe(self) -> dict[str, Any]:
        """Say what it is."""
        return {"method": "two-stage position fit, uncorrected: the middle of the light"}


def with_corrected_fit(
    sample: Sample, correction: PositionCorrection | None = None
) -> tuple[Sample, str]:
    """Add the method `FIT`: the fitted positions corrected for their bias, and angles from them.

    Without a ``correction`` from other events, each half of the sample, entries of even and of odd
    number, is corrected by what the fiducial events of the other half tell, in every condition
    by the same.

    Returns
    -------
    sample, note
        The sample with the method, and one sentence saying what was done.

    Raises
    ------
    InputError
        If there are too few events to fit a correction.
    """
    raw = [
        (_positions(condition), np.asarray(condition.estimates[FIT_RAW].values[SCALE], np.float64))
        for condition in sample.conditions
    ]
    if correction is not None:
        corrected = [correction(*pair) for pair in raw]
        note = (
            f"The position fit is corrected for its bias by polynomials in its position and "
            f"light, fitted on {correction.n:,} calibration events."
        )
    else:
        truth = np.stack([sample.truth[name] for name in POSITION], axis=1)
        corrected = cross_corrected(*raw[0], truth, sample.fiducial(), raw)
        note = (
            "The position fit is corrected for its bias by polynomials in its position and light, "
            "those of each half of the events fitted on the other half."
        )
    conditions = tuple(
        condition.with_method(FIT, _estimates(uvw))
        for condition, uvw in zip(sample.conditions, corrected, strict=True)
    )
    return replace(sample, conditions=conditions), note


def _positions(condition: Condition) -> FloatArray:
    values = condition.estimates[FIT_RAW].values
    return np.stack([np.asarray(values[name], np.float64) for name in POSITION], axis=1)


def _estimates(uvw: FloatArray) -> Estimates:
    angle = centroid_angle(uvw)
    names = (*POSITION, "theta", "phi")
    columns = zip(names, (*uvw.T, *angle.T), strict=True)
    return Estimates({name: values.astype(np.float32) for name, values in columns})
