"""The events that a training reads."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import islice

from xec_train.config import RegressorConfig
from xec_train.data import EventStream, RawBatch
from xec_train.data.reweight import EventWeights
from xec_train.models import TaskName
from xec_train.training.run import AnyConfig, on_gpu

__all__ = ["first_batches", "training_stream", "validation_stream"]


def training_stream(config: AnyConfig, tasks: Sequence[TaskName] = ()) -> EventStream:
    """Return shuffled events with the truth of ``tasks``, reweighted as configured."""
    weights = (
        EventWeights.of_config(config.reweighting, config.active_tasks)
        if isinstance(config, RegressorConfig) and tasks
        else None
    )
    return EventStream(
        config.data.train_path,
        config.data,
        tasks,
        shuffle=True,
        seed=config.training.seed,
        max_events=config.data.train_events,
        pin_memory=on_gpu(config.training),
        reweighting=weights,
    )


def validation_stream(
    config: AnyConfig, tasks: Sequence[TaskName] = (), *, whole: bool = False
) -> EventStream:
    """Return validation events in order; ``whole`` on one process, whatever their number."""
    return EventStream(
        config.data.val_path,
        config.data,
        tasks,
        shuffle=False,
        max_events=config.data.val_events,
        rank=0 if whole else None,
        world=1 if whole else None,
        pin_memory=on_gpu(config.training),
    )


def first_batches(
    config: AnyConfig, events: int, tasks: Sequence[TaskName] = ()
) -> Iterator[RawBatch]:
    """Iterate over the first training events, the same on every process."""
    stream = EventStream(
        config.data.train_path,
        config.data,
        tasks,
        shuffle=True,
        seed=config.training.seed,
        rank=0,
        world=1,
    )
    return islice(stream, math.ceil(events / config.data.batch_size))
