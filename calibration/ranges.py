"""How far activations reach: four ways to choose what eight bits have to cover.

A range that is too wide wastes steps, one too narrow clips; the methods weigh the two differently.

``minmax``
    Everything that was seen.
``percentile``
    All but a share of the values at either end.
``mse``
    The least mean squared error of rounding and clipping, computed on the histogram.
``entropy``
    The least Kullback-Leibler divergence of the quantised from the original distribution, as
    in Migacz, "8-bit Inference with TensorRT", GTC 2017, but on fine bins and for both signs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from calibration.histogram import StreamingHistogram
from calibration.qdq import LARGEST, LEVELS, Target
from xec_deploy.errors import UsageError, nearest

__all__ = ["METHODS", "Method", "choose_range"]

Method = Literal["minmax", "percentile", "mse", "entropy"]
Range = tuple[float, float]

DEFAULT_PERCENTILE: Final = 99.99
SHRINKS: Final = tuple(np.geomspace(1.0, 0.05, 64).tolist())
"""Fractions of the full range that the searching methods try."""
SWEEPS: Final = 2


def choose_range(
    histogram: StreamingHistogram,
    method: Method,
    target: Target,
    *,
    percentile: float = DEFAULT_PERCENTILE,
) -> Range:
    """Return the lowest and highest value to keep.

    Parameters
    ----------
    histogram
        Of a tensor.
    method
        See the module.
    target
        Whether the range will be symmetric (``tensorrt``), which decides what clipping gains.
    percentile
        Per cent of the values that ``percentile`` keeps.

    Raises
    ------
    UsageError
        If there is no such method.
    """
    choices: dict[str, Callable[[], Range]] = {
        "minmax": lambda: _full(histogram, target),
        "percentile": lambda: _percentile(histogram, target, percentile),
        "mse": lambda: _least(histogram, target, _squared_error),
        "entropy": lambda: _least(histogram, target, _divergence),
    }
    if method not in choices:
        raise UsageError(f"no calibration method {method!r}", fix=nearest(method, choices))
    return choices[method]()


METHODS: Final[tuple[Method, ...]] = ("minmax", "percentile", "mse", "entropy")


def _full(histogram: StreamingHistogram, target: Target) -> Range:
    low, high = min(histogram.low, 0.0), max(histogram.high, 0.0)
    if not np.isfinite(low) or not np.isfinite(high):
        return 0.0, 0.0  # an empty histogram: the tensor is never a number
    if target == "tensorrt":
        return -max(-low, high), max(-low, high)
    return low, high


def _percentile(histogram: StreamingHistogram, target: Target, percentile: float) -> Range:
    full = _full(histogram, target)
    total = histogram.total
    outside = (1 - percentile / 100) * total
    if outside < 1:
        return full
    if target == "tensorrt":
        half = len(histogram.counts) // 2
        folded = histogram.counts[half:] + histogram.counts[:half][::-1]
        kept = np.searchsorted(np.cumsum(folded), total - outside)
        limit = min(float(histogram.edges[half + 1 + kept]), full[1])
        return -limit, limit
    # Half of the share at either end.
    cumulative = np.cumsum(histogram.counts)
    first = int(np.searchsorted(cumulative, outside / 2, side="right"))
    last = int(np.searchsorted(cumulative, total - outside / 2))
    edges = histogram.edges
    return max(float(edges[first]), full[0]), min(float(edges[last + 1]), full[1])


Error = Callable[[NDArray[np.float64], NDArray[np.int64], NDArray[np.float64], float], float]


def _least(histogram: StreamingHistogram, target: Target, error: Error) -> Range:
    """Return the shrunk range for which ``error`` is least.

    ``error`` gets the bins in use (centres and counts), what quantisation makes of the centres,
    and the step.  A range that need not be symmetric is shrunk from each side in turn: behind a
    GELU the one lies at -0.17 and the other where the outliers are.
    """
    bounds = _full(histogram, target)
    used = np.flatnonzero(histogram.counts)
    if not len(used) or bounds[0] == bounds[1]:
        return bounds
    rows = slice(int(used[0]), int(used[-1]) + 1)
    centres, counts = histogram.centres[rows], histogram.counts[rows]
    levels = 2 * LARGEST if target == "tensorrt" else LEVELS

    def cost(low: float, high: float) -> float:
        step = (high - low) / levels
        # Zero is a level, as it is in the graph.
        first = np.rint(low / step)
        index = np.clip(np.rint(centres / step), first, first + levels)
        return error(centres, counts, index * step, step)

    def best(candidates: list[Range]) -> Range:
        # The widest comes first and wins ties.
        costs = [cost(*one) for one in candidates]
        return candidates[int(np.argmin(costs))]

    if target == "tensorrt":
        return best([(bounds[0] * s, bounds[1] * s) for s in SHRINKS])
    for _ in range(SWEEPS):
        if bounds[1] > 0:
            bounds = best([(bounds[0], bounds[1] * s) for s in SHRINKS])
        if bounds[0] < 0:
            bounds = best([(bounds[0] * s, bounds[1]) for s in SHRINKS])
    return bounds


def _squared_error(
    centres: NDArray[np.float64],
    counts: NDArray[np.int64],
    quantised: NDArray[np.float64],
    step: float,
) -> float:
    del step
    return float(np.dot(counts, (centres - quantised) ** 2))


def _divergence(
    centres: NDArray[np.float64],
    counts: NDArray[np.int64],
    quantised: NDArray[np.float64],
    step: float,
) -> float:
    """Return KL(P || Q): Q spreads each level's count evenly over the bins it stands for.

    Clipped values count at the last bin inside for P, and are missing in Q, as in the paper:
    that is what makes clipping cost something.
    """
    inside = np.abs(centres - quantised) <= 0.5 * step * (1 + 1e-9)
    present = counts > 0
    level = np.rint((quantised - quantised[0]) / step).astype(np.int64)
    size = int(level.max()) + 1
    mass = np.bincount(level[inside], counts[inside], minlength=size)
    bins = np.bincount(level[inside & present], minlength=size)
    q = np.where(inside & present, mass[level] / np.maximum(bins[level], 1), 0.0)
    p = np.where(inside, counts, 0).astype(np.float64)
    kept = np.flatnonzero(inside)
    p[kept[0]] += counts[: kept[0]].sum()
    p[kept[-1]] += counts[kept[-1] + 1 :].sum()
    both = p > 0
    # A clipped end may fall on a bin that was empty; a small share stands for impossible there.
    q = np.maximum(q / q.sum(), 1e-12)
    p /= p.sum()
    return float(np.sum(p[both] * np.log(p[both] / q[both])))
