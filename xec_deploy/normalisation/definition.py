"""The one definition of how raw photons and times become network input.

The arithmetic is written once, over an array namespace, so that NumPy (reference), torch
(training, and through it the exported graph) run the very same lines; the C++ side is
compiled from the same formulas and tested bit for bit against this module.

Rules (raw npho in photons, time in seconds):

* *npho-invalid*: flagged dead, npho > 9e9, or not finite -> ``sentinel_npho``.
* *domain break*: valid, but below the scheme's minimum -> 0.
* *time-invalid*: npho-invalid, npho < ``npho_threshold``, ``|time| > 9e9``, or not finite
  -> ``sentinel_time``.
"""

from __future__ import annotations

import math
from types import ModuleType
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel, ConfigDict, Field

from xec_deploy.detector.constants import INVALID_ABOVE
from xec_deploy.errors import UsageError

__all__ = ["Normalisation", "NphoScheme", "SchemeArrays", "channel_validity", "normalise_arrays"]

NphoScheme = Literal["log1p", "sqrt", "anscombe", "linear"]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
SchemeArrays = Any
"""An array of the namespace in use (NumPy or torch)."""

ANSCOMBE_OFFSET = 0.375


class Normalisation(BaseModel):
    """Parameters of the normalisation; the names are those of existing checkpoints.

    The defaults are the ones the research code falls back to; a bundle always states all of
    them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    npho_scheme: NphoScheme = "log1p"
    """Transform of photon counts."""
    npho_scale: Positive = 1000.0
    """Scale of photon counts, photons."""
    npho_scale2: Positive = 4.08
    """Second scale of log1p, by which the logarithm is divided."""
    time_scale: Positive = 1.14e-7
    """Scale of times, s."""
    time_shift: Finite = -0.46
    """Subtracted from a scaled time."""
    sentinel_npho: Finite = -1.0
    """Input of a sensor without a valid photon count."""
    sentinel_time: Finite = -1.0
    """Input of a sensor without a valid time."""
    npho_threshold: Finite = 100.0
    """Photons below which a sensor has no valid time."""

    @property
    def domain_minimum(self) -> float:
        """Smallest npho the scheme is used for; below it a channel is a domain break."""
        return {
            "log1p": -0.999 * self.npho_scale,
            "sqrt": 0.0,
            "anscombe": -ANSCOMBE_OFFSET,
            "linear": -math.inf,
        }[self.npho_scheme]

    def forward(self, npho: SchemeArrays, xp: ModuleType = np) -> SchemeArrays:
        """Transform photon counts that lie in the domain of the scheme."""
        match self.npho_scheme:
            case "log1p":
                return xp.log(1.0 + npho / self.npho_scale) / self.npho_scale2
            case "sqrt":
                return xp.sqrt(npho / self.npho_scale)
            case "anscombe":
                scale = self.npho_scale + ANSCOMBE_OFFSET
                return xp.sqrt((npho + ANSCOMBE_OFFSET) / scale)
            case "linear":
                return npho / self.npho_scale

    def inverse(self, value: SchemeArrays, xp: ModuleType = np) -> SchemeArrays:
        """Transform normalised photon counts back to photons.

        The sqrt and anscombe inverses are even: a negative value comes back as if positive, as
        in the research code.
        """
        match self.npho_scheme:
            case "log1p":
                return self.npho_scale * (xp.exp(value * self.npho_scale2) - 1.0)
            case "sqrt":
                return value * value * self.npho_scale
            case "anscombe":
                return value * value * (self.npho_scale + ANSCOMBE_OFFSET) - ANSCOMBE_OFFSET
            case "linear":
                return value * self.npho_scale

    def forward_time(self, time: SchemeArrays) -> SchemeArrays:
        """Transform times [s]."""
        return time / self.time_scale - self.time_shift

    def inverse_time(self, value: SchemeArrays) -> SchemeArrays:
        """Transform normalised times back to seconds."""
        return (value + self.time_shift) * self.time_scale

    def apply(
        self, npho: ArrayLike, time: ArrayLike, dead: ArrayLike | None = None
    ) -> NDArray[Any]:
        """Normalise events with NumPy.

        Parameters
        ----------
        npho, time
            (..., sensors) photons and seconds, float32 or float64.
        dead
            (..., sensors) bool, broadcast against ``npho``; None for no dead channels.

        Returns
        -------
        x
            (..., sensors, 2), of the dtype of ``npho``.  Computed in float64 and rounded once, so
            that float32 input stays float32 whatever the NumPy version and agrees with C++ bit
            for bit.

        Raises
        ------
        UsageError
            If the shapes of ``npho`` and ``time`` differ, or ``dead`` does not broadcast.
        """
        raw_npho, raw_time = np.asarray(npho), np.asarray(time)
        if raw_npho.shape != raw_time.shape:
            raise UsageError(f"npho has shape {raw_npho.shape} but time has {raw_time.shape}")
        flags = np.zeros((), bool) if dead is None else np.asarray(dead, dtype=bool)
        try:
            flags = np.broadcast_to(flags, raw_npho.shape)
        except ValueError as error:
            raise UsageError(
                f"dead has shape {flags.shape} but npho has {raw_npho.shape}",
                fix="Pass one flag per sensor, or one per sensor and event.",
            ) from error
        # Any byte order of double counts as float64.
        dtype = np.float64 if raw_npho.dtype.newbyteorder("=") == np.float64 else np.float32
        out = np.empty((*raw_npho.shape, 2), dtype=dtype)
        # Every bit pattern is legal input: a signalling NaN is quietened, and a valid value the
        # output type cannot hold becomes infinite (linear scheme, or a minute scale).
        with np.errstate(invalid="ignore", over="ignore"):
            out[..., 0], out[..., 1] = normalise_arrays(
                raw_npho.astype(np.float64), raw_time.astype(np.float64), flags, self, np
            )
        return out


def channel_validity(
    npho: SchemeArrays,
    time: SchemeArrays,
    dead: SchemeArrays,
    npho_threshold: float,
    xp: ModuleType = np,
) -> tuple[SchemeArrays, SchemeArrays]:
    """Return (npho-valid, time-valid) boolean arrays by the rules of the module."""
    npho_valid = xp.isfinite(npho) & (npho <= INVALID_ABOVE) & ~dead
    time_valid = (
        npho_valid & (npho >= npho_threshold) & xp.isfinite(time) & (abs(time) <= INVALID_ABOVE)
    )
    return npho_valid, time_valid


def normalise_arrays(
    npho: SchemeArrays,
    time: SchemeArrays,
    dead: SchemeArrays,
    normalisation: Normalisation,
    xp: ModuleType,
) -> tuple[SchemeArrays, SchemeArrays]:
    """Normalise in the precision of the input, over any array namespace.

    Out-of-domain values are replaced *before* the transform: neither NaN nor a warning arises,
    and an exported graph carries no NaN through its arithmetic.
    """
    n = normalisation
    npho_valid, time_valid = channel_validity(npho, time, dead, n.npho_threshold, xp)
    in_domain = npho_valid & (npho >= n.domain_minimum)
    # Numbers, not arrays of them: ONNX Runtime selects those in half the time.
    npho_norm = xp.where(in_domain, n.forward(xp.where(in_domain, npho, 0.0), xp), 0.0)
    # Plus zero, as ever in this definition: a sentinel of -0.0 comes out as 0.0.
    npho_norm = xp.where(npho_valid, npho_norm, n.sentinel_npho + 0.0)
    time_norm = n.forward_time(xp.where(time_valid, time, 0.0))
    return npho_norm, xp.where(time_valid, time_norm, n.sentinel_time + 0.0)
