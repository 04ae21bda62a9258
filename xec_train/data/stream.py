"""Events for training: raw tensors streamed from ROOT files."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import IterableDataset

from xec_deploy.detector.constants import INVALID_ABOVE
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
from xec_train.data.batch import RawBatch
from xec_train.models import TASK_DIMENSIONS, TaskName

__all__ = ["EventStream"]


class EventStream(IterableDataset[RawBatch]):
    """Batches of events from ROOT files, shuffled by file and within chunks if asked.

    Memory is bounded by a few chunks whatever the files.  Events whose arrays could not be read or
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
            events, _ = self._open(item)
            with events:
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
        size, left = self.config.batch_size, self.num_events
        waiting: RawBatch | None = None
        for index in order:
            for chunk in self._chunks(self.inputs[int(index)]):
                raw = chunk.take(slice(left))
                left -= len(raw)
                if self.shuffle:
                    raw = raw.take(torch.from_numpy(random.permutation(len(raw))))
                # Batches are full across chunks and files: only the last one may be shorter.
                waiting = raw if waiting is None else waiting.join(raw)
                full = len(waiting) - len(waiting) % size
                for start in range(0, full, size):
                    yield waiting.take(slice(start, start + size))
                # A copy: a view would keep the whole chunk in memory.
                waiting = waiting.take(torch.arange(full, len(waiting)))
                if left == 0:
                    break
            if left == 0:
                break
        if waiting is not None and len(waiting):
            yield waiting

    def _open(self, item: InputFile) -> tuple[EventFile, dict[TaskName, str]]:
        """Open a file, with the truth branch of each task."""
        npho, time = self.config.npho_branch, self.config.time_branch
        with open_events(item, npho_branch=npho, time_branch=time) as events:
            found = find_truth(events.names)
        missing = [task for task in self.tasks if task not in found]
        if missing:
            raise InputError(
                f"no truth branch for task {missing[0]!r}",
                where=item.path,
                fix="Train only tasks the files have the truth of.",
            )
        truth = {task: found[task] for task in self.tasks}
        events = open_events(
            item,
            npho_branch=npho,
            time_branch=time,
            keep=list(truth.values()),
            dead=dead_channels(self.config.dead),
        )
        return events, truth

    def _chunks(self, item: InputFile) -> Iterator[RawBatch]:
        """Read a file in chunks of its usable events."""
        usable = 0
        events, truth = self._open(item)
        with events:
            for chunk in events.batches(self.config.chunksize):
                raw = _usable(chunk, truth, events.path)
                usable += len(raw)
                yield raw
            if events.num_entries and not usable:
                raise InputError("no event is readable and has finite truth", where=item.path)


def _usable(chunk: EventBatch, truth: dict[TaskName, str], path: str) -> RawBatch:
    good = chunk.readable.copy()
    targets = {}
    for task, branch in truth.items():
        target = _target(chunk.extra[branch])
        if target.shape[1] != TASK_DIMENSIONS[task]:
            raise InputError(
                f"branch {branch!r} has {target.shape[1]} components, "
                f"task {task!r} needs {TASK_DIMENSIONS[task]}",
                where=path,
            )
        # Like the sensors' values, an unknown truth may be marked by 1e10; NaN compares False.
        good &= (np.abs(target) <= INVALID_ABOVE).all(axis=1)
        targets[task] = target
    return RawBatch(
        torch.from_numpy(chunk.npho[good]),
        torch.from_numpy(chunk.time[good]),
        torch.from_numpy(chunk.dead[good]),
        {task: torch.from_numpy(target[good]) for task, target in targets.items()},
        run=torch.from_numpy(chunk.run[good]),
        event=torch.from_numpy(chunk.event[good]),
    )


def _target(values: NDArray[np.generic]) -> NDArray[np.float32]:
    return values.astype(np.float32).reshape(len(values), -1)
