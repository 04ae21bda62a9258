"""Weights that flatten the distribution of the truth.

An event counts by the inverse of the number of events in its bin, so that every bin that holds
events counts the same; the weights of several tasks are multiplied.  The histograms are made in
the pass over the truth that every training starts with, and live in memory only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xec_deploy.errors import UsageError, nearest
from xec_train.config.regressor import Reweighting
from xec_train.data.truth import TRUTH_COMPONENTS
from xec_train.models import TaskName

__all__ = ["REWEIGHTED_TASKS", "EventWeights"]

REWEIGHTED_TASKS: Final[tuple[TaskName, ...]] = ("angle", "energy", "timing", "uvwFI")
"""Tasks with a histogram: angle in two dimensions, uvwFI in three, the others in one."""


class EventWeights:
    """Weights by the histograms of some tasks.

    Parameters
    ----------
    bins
        Bins along each component, by task: one number for energy and timing, two for angle, three
        for uvwFI.

    Raises
    ------
    UsageError
        If a task has no histogram.
    """

    def __init__(self, bins: Mapping[TaskName, tuple[int, ...]]) -> None:
        self.bins = dict(bins)
        for task in self.bins:
            if task not in REWEIGHTED_TASKS:
                raise UsageError(
                    f"reweighting.{task}: this task cannot be reweighted",
                    fix=nearest(task, REWEIGHTED_TASKS),
                )
        self._tables: dict[TaskName, _Table] = {}
        self._mean = 1.0

    @classmethod
    def of_config(
        cls, sections: Mapping[TaskName, Reweighting], tasks: Sequence[TaskName]
    ) -> EventWeights | None:
        """Take the tasks that are trained and have reweighting enabled; None if there are none."""
        bins: dict[TaskName, tuple[int, ...]] = {
            task: section.nbins_2d if task == "angle" else (section.nbins,) * TRUTH_COMPONENTS[task]
            for task, section in sections.items()
            if section.enabled and task in tasks
        }
        return cls(bins) if bins else None

    @property
    def tasks(self) -> tuple[TaskName, ...]:
        """Tasks whose truth is needed."""
        return tuple(self.bins)

    def fit(self, truth: Mapping[TaskName, NDArray[np.float32]]) -> None:
        """Make the histograms of all training events: per task (events, components)."""
        self._tables = {task: _Table(truth[task], bins) for task, bins in self.bins.items()}
        self._mean = 1.0
        if self._tables:
            self._mean = float(self._product(truth).mean())

    def __call__(self, targets: Mapping[TaskName, Tensor]) -> Tensor:
        """Return the weights (batch,) float32 of events; their mean over the training is one."""
        weights = self._product({task: targets[task].numpy() for task in self._tables})
        return torch.from_numpy((weights / self._mean).astype(np.float32))

    def _product(self, truth: Mapping[TaskName, NDArray[np.float32]]) -> NDArray[np.float64]:
        factors = [table.weights(truth[task]) for task, table in self._tables.items()]
        product: NDArray[np.float64] = np.prod(factors, axis=0)
        return product


class _Table:
    """Inverse frequencies in bins of equal width between the extremes."""

    def __init__(self, values: NDArray[np.float32], bins: tuple[int, ...]) -> None:
        self._bins = bins
        self._low = values.min(axis=0).astype(np.float64)
        span = values.max(axis=0).astype(np.float64) - self._low
        self._scale = np.asarray(bins) / np.where(span > 0, span, 1.0)
        counts = np.bincount(self._flat(values), minlength=int(np.prod(bins)))
        occupied = np.count_nonzero(counts)
        self._weights = len(values) / (occupied * np.maximum(counts, 1.0))

    def weights(self, values: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the weight of each event; one on average over the training events."""
        found: NDArray[np.float64] = self._weights[self._flat(values)]
        return found

    def _flat(self, values: NDArray[np.float32]) -> NDArray[np.int64]:
        # clipped before the cast: the largest value belongs to the last bin
        position = np.floor((values.astype(np.float64) - self._low) * self._scale)
        cells = np.clip(position, 0, np.asarray(self._bins) - 1).astype(np.int64)
        flat: NDArray[np.int64] = np.ravel_multi_index(tuple(cells.T), self._bins)
        return flat
