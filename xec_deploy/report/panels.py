"""Small parts that plots share: grids of panels, normalised histograms, ranges, labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from xec_deploy.report.style import new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["density", "panel_grid", "value_range", "width_with_error"]

FloatArray = NDArray[np.float64]


def panel_grid(panels: int, *, height: float = 2.35) -> tuple[Figure, list[Axes]]:
    """Return a figure of panels, four in a row; ``height`` [inch] is that of a row."""
    columns = 4
    rows = -(-panels // columns)
    figure = new_figure(2.75 * columns, height * rows + 0.1)
    return figure, list(figure.subplots(rows, columns, squeeze=False).ravel())


def density(values: FloatArray, bins: FloatArray) -> FloatArray:
    """Histogram over all finite values, so that what lies outside the bins still counts."""
    finite = values[np.isfinite(values)]
    count, _ = np.histogram(finite, bins)
    return np.asarray(count / (max(len(finite), 1) * np.diff(bins)), dtype=np.float64)


def value_range(values: FloatArray) -> tuple[float, float]:
    """Range of nearly all values, with a margin."""
    finite = values[np.isfinite(values)]
    if len(finite) == 0:
        return -1.0, 1.0
    low, high = np.quantile(finite, (0.002, 0.998))
    margin = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
    return float(low - margin), float(high + margin)


def width_with_error(value: float, error: float, unit: str) -> str:
    """Format sigma68 with its error and unit as mathtext."""
    if not np.isfinite(value):
        return "too few events"
    digits = (
        2 if not np.isfinite(error) or error <= 0 else int(max(0, 1 - np.floor(np.log10(error))))
    )
    digits = min(digits, 4)
    return f"$\\sigma_{{68}}$ = {value:.{digits}f} ± {error:.{digits}f} {unit}"
