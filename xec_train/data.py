"""Events for training: raw tensors streamed from ROOT files."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import IterableDataset

from xec_deploy.errors import InputError
from xec_deploy.events import (
    EventBatch,
    EventFile,
    InputFile,
    dead_channels,
    expand_inputs,
    find_truth,
    open_events,
)
from xec_train.config import DataConfig
from xec_train.models import TaskName

__all__ = ["EventStream", "RawBatch"]


@dataclass(frozen=True)
class RawBatch:
    """Raw inputs (batch, 4760) and targets {task: (batch, components)} in physical units."""

    npho: Tensor
    time: Tensor
    dead: Tensor
    targets: dict[TaskName, Tensor]

    def to(self, device: torch.device) -> RawBatch:
        """Move to a device."""
        return RawBatch(
            self.npho.to(device, non_blocking=True),
            self.time.to(device, non_blocking=True),
            self.dead.to(device, non_blocking=True),
            {task: target.to(device, non_blocking=True) for task, target in self.targets.items()},
        )


class EventStream(IterableDataset[RawBatch]):
    """Batches of events from ROOT files, shuffled by file and within chunks if asked.

    Memory is bounded by one chunk whatever the files.  Events whose arrays could not be read or
    whose targets are not finite are left out.
    """

    def __init__(
        self,
        paths: Sequence[str],
        config: DataConfig,
        tasks: Sequence[TaskName],
        *,
        shuffle: bool,
        seed: int = 0,
        max_events: int | None = None,
    ) -> None:
        super().__init__()
        self.inputs = expand_inputs(list(paths), tree=config.tree_name)
        self.config = config
        self.tasks = tuple(tasks)
        self.shuffle = shuffle
        self.seed = seed
        self.epoch = 0
        self.num_events = 0
        for item in self.inputs:
            with self._open(item) as events:
                self.num_events += events.num_entries
        self.num_events = min(self.num_events, max_events or self.num_events)
        if self.num_events == 0:
            raise InputError("the files hold no events", where=", ".join(paths))

    def __len__(self) -> int:
        return math.ceil(self.num_events / self.config.batch_size)

    def __iter__(self) -> Iterator[RawBatch]:
        random = np.random.default_rng([self.seed, self.epoch])
        self.epoch += 1
        order = random.permutation(len(self.inputs)) if self.shuffle else range(len(self.inputs))
        left = self.num_events
        for index in order:
            with self._open(self.inputs[int(index)]) as events:
                for chunk in events.batches(self.config.chunksize):
                    raw = self._tensors(chunk, events.path, left)
                    left -= len(chunk)
                    rows = random.permutation(len(raw.npho)) if self.shuffle else None
                    yield from _split(raw, rows, self.config.batch_size)
                    if left <= 0:
                        return

    def _open(self, item: InputFile) -> EventFile:
        config = self.config
        branches = (config.npho_branch, config.time_branch)
        with open_events(item, npho_branch=branches[0], time_branch=branches[1]) as events:
            truth = find_truth(events.names)
        missing = [task for task in self.tasks if task not in truth]
        if missing:
            raise InputError(
                f"no truth branch for task {missing[0]!r}",
                where=item.path,
                fix="Train only tasks the files have the truth of.",
            )
        self._truth = {task: truth[task] for task in self.tasks}
        return open_events(
            item,
            npho_branch=branches[0],
            time_branch=branches[1],
            keep=list(self._truth.values()),
            dead=dead_channels(config.dead),
        )

    def _tensors(self, chunk: EventBatch, path: str, limit: int) -> RawBatch:
        targets = {task: _target(chunk.extra[branch]) for task, branch in self._truth.items()}
        good = chunk.readable.copy()
        for target in targets.values():
            good &= np.isfinite(target).all(axis=1) & (np.abs(target) < 1e9).all(axis=1)
        if not good.any():
            raise InputError("no event of a chunk has finite truth", where=path)
        rows = np.flatnonzero(good)[:limit]
        return RawBatch(
            torch.from_numpy(chunk.npho[rows]),
            torch.from_numpy(chunk.time[rows]),
            torch.from_numpy(chunk.dead[rows]),
            {task: torch.from_numpy(target[rows]) for task, target in targets.items()},
        )


def _target(values: NDArray[np.generic]) -> NDArray[np.float32]:
    return values.astype(np.float32).reshape(len(values), -1)


def _split(raw: RawBatch, rows: NDArray[np.int64] | None, size: int) -> Iterator[RawBatch]:
    for start in range(0, len(raw.npho), size):
        part: slice | Tensor = slice(start, start + size)
        if rows is not None:
            part = torch.from_numpy(rows[start : start + size])
        yield RawBatch(
            raw.npho[part],
            raw.time[part],
            raw.dead[part],
            {task: target[part] for task, target in raw.targets.items()},
        )
