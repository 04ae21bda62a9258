"""The reconstructed quantities: how residuals are formed, in which unit, and what to expect."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["QUANTITIES", "Quantity"]

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Quantity:
    """One quantity of the results.

    Attributes
    ----------
    name
        Branch name.
    symbol, words
        For plots (mathtext) and for text.
    unit, scale
        Unit of the value on plots, and what the branch's value is multiplied by for it.
    residual_unit, residual_scale
        The same for residuals.
    published
        Resolution of the detector in the residual's unit, or None.
    relative
        Whether the residual is relative to the truth.
    """

    name: str
    symbol: str
    words: str
    unit: str
    scale: float
    residual_unit: str
    residual_scale: float
    published: float | None
    relative: bool = False

    def residual(self, value: FloatArray, truth: FloatArray) -> FloatArray:
        """Return (value - truth), or value / truth - 1, in the residual's unit; NaN if neither."""
        difference = (value - truth) * self.residual_scale
        if not self.relative:
            return difference
        return difference / np.where(truth > 0, truth, np.nan)

    @property
    def residual_label(self) -> str:
        """Axis label of the residual."""
        if self.relative:
            return f"${self.symbol}_\\mathrm{{rec}} / {self.symbol}_\\mathrm{{true}} - 1$ [%]"
        difference = f"${self.symbol}_\\mathrm{{rec}} - {self.symbol}_\\mathrm{{true}}$"
        return f"{difference} [{self.residual_unit}]"

    @property
    def label(self) -> str:
        """Axis label of the value."""
        return f"${self.symbol}$ [{self.unit}]"


MRAD_PER_DEGREE: Final = float(np.radians(1e3))

QUANTITIES: Final = (
    Quantity("energy", "E", "Energy", "MeV", 1e3, "%", 100.0, 1.8, relative=True),
    Quantity("timing", "t", "Time", "ns", 1.0, "ps", 1e3, 65.0),
    Quantity("u", "u", "Position u", "cm", 1.0, "mm", 10.0, 2.5),
    Quantity("v", "v", "Position v", "cm", 1.0, "mm", 10.0, 2.5),
    Quantity("w", "w", "Depth w", "cm", 1.0, "mm", 10.0, 5.0),
    Quantity("theta", r"\theta", "Polar angle", "deg", 1.0, "mrad", MRAD_PER_DEGREE, 5.0),
    Quantity("phi", r"\phi", "Azimuth", "deg", 1.0, "mrad", MRAD_PER_DEGREE, 5.0),
)
"""In the order of tables and plots; published figures as in the parity gates."""
