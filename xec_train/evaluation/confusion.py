"""The number of photons: a confusion matrix."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import binomtest

from xec_deploy.errors import UsageError

__all__ = ["Confusion", "Efficiency", "confusion"]


@dataclass(frozen=True)
class Efficiency:
    """A share of events with its 68.27 % interval (Wilson); None where there are no events."""

    value: float | None
    low: float | None
    high: float | None
    n: int


@dataclass(frozen=True)
class Confusion:
    """Predicted against true class.

    Attributes
    ----------
    matrix
        Events, rows true and columns predicted class.
    efficiency
        Of each true class, the share predicted as such.
    purity
        Of each predicted class, the share that truly is.
    accuracy
        Share of all events predicted right.
    excluded
        Events without a finite prediction or a true class in range.
    """

    matrix: tuple[tuple[int, ...], ...]
    efficiency: tuple[Efficiency, ...]
    purity: tuple[Efficiency, ...]
    accuracy: Efficiency
    excluded: int


def confusion(logits: ArrayLike, truth: ArrayLike) -> Confusion:
    """Return the confusion matrix of the class with the largest logit.

    Parameters
    ----------
    logits
        (n, classes).
    truth
        (n,) class numbers from 0.

    Raises
    ------
    UsageError
        If the shapes do not fit.
    """
    scores = np.asarray(logits, dtype=np.float64)
    actual = np.asarray(truth, dtype=np.float64)
    if scores.ndim != 2 or actual.shape != scores.shape[:1]:
        raise UsageError(
            f"logits and truth have shapes {scores.shape} and {actual.shape}",
            fix="Pass (n, classes) and (n,).",
        )
    classes = scores.shape[1]
    known = np.isfinite(scores).all(axis=1) & (actual >= 0) & (actual < classes)
    rows, columns = actual[known].astype(np.int64), scores[known].argmax(axis=1)
    flat = np.bincount(rows * classes + columns, minlength=classes**2)
    matrix = flat.reshape(classes, classes)
    right = np.diag(matrix)
    return Confusion(
        matrix=tuple(tuple(int(count) for count in row) for row in matrix),
        efficiency=tuple(map(_share, right, matrix.sum(axis=1))),
        purity=tuple(map(_share, right, matrix.sum(axis=0))),
        accuracy=_share(right.sum(), matrix.sum()),
        excluded=int(np.count_nonzero(~known)),
    )


def _share(part: np.int64, whole: np.int64) -> Efficiency:
    if whole == 0:
        return Efficiency(None, None, None, 0)
    interval = binomtest(int(part), int(whole)).proportion_ci(0.6827, method="wilson")
    return Efficiency(float(part / whole), float(interval.low), float(interval.high), int(whole))
