"""Fine histograms of activations that grow with the data, in constant memory."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["BINS", "StreamingHistogram"]

BINS: Final = 8192
"""Bins over ``[-limit, limit]``: at least 2048 on each side of zero are in use."""
FIRST_LIMIT: Final = 2.0**-20


class StreamingHistogram:
    """Histogram of a stream of values over ``[-limit, limit]``, with exact extremes.

    A value outside doubles the limit as often as needed: two neighbouring bins become one, which
    loses no count and keeps zero on the border of two bins.
    """

    def __init__(self) -> None:
        self.limit = FIRST_LIMIT
        self.counts = np.zeros(BINS, np.int64)
        self.low, self.high = np.inf, -np.inf

    def update(self, values: NDArray[np.float32]) -> None:
        """Add values of any shape; those that are not finite do not count."""
        flat = values.ravel()
        low, high = float(flat.min(initial=np.inf)), float(flat.max(initial=-np.inf))
        if not (np.isfinite(low) and np.isfinite(high)):
            flat = flat[np.isfinite(flat)]
            if not flat.size:
                return
            low, high = float(flat.min()), float(flat.max())
        self.low, self.high = min(self.low, low), max(self.high, high)
        self._grow(max(-low, high))
        index = (flat * np.float32(BINS / 2 / self.limit)).astype(np.int32)
        # The cast rounds towards zero, so that bins right and left of it are told by the sign.
        index -= (flat < 0).astype(np.int32)
        index += BINS // 2
        np.clip(index, 0, BINS - 1, out=index)
        self.counts += np.bincount(index, minlength=BINS)

    def _grow(self, reach: float) -> None:
        while reach > self.limit:
            pairs = self.counts.reshape(-1, 2).sum(axis=1)
            self.counts[:] = 0
            self.counts[BINS // 4 : 3 * BINS // 4] = pairs
            self.limit *= 2

    @property
    def total(self) -> int:
        """Number of values."""
        return int(self.counts.sum())

    @property
    def edges(self) -> NDArray[np.float64]:
        """(BINS + 1,) borders of the bins."""
        return np.linspace(-self.limit, self.limit, BINS + 1)

    @property
    def centres(self) -> NDArray[np.float64]:
        """(BINS,) middles of the bins."""
        edges = self.edges
        middles: NDArray[np.float64] = (edges[:-1] + edges[1:]) / 2
        return middles
