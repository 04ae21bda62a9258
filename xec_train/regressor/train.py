"""``xec-train regressor``: from a configuration to checkpoints."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import lightning

from xec_train.config import RegressorConfig
from xec_train.data import EventStream, RawBatch
from xec_train.data.reweight import EventWeights
from xec_train.regressor.finish import finish_training
from xec_train.regressor.module import RegressorModule
from xec_train.regressor.start import StartingWeights, starting_weights
from xec_train.training import (
    Batches,
    CheckpointFiles,
    StopOnSignal,
    TrainingData,
    find_resume,
    fit,
    on_gpu,
)

__all__ = ["train_on", "train_regressor"]


def train_regressor(config: RegressorConfig) -> Path:
    """Train a regressor; return the path of the best checkpoint.

    Writes ``checkpoint_best.pth``, ``checkpoint_last.pth``, ``checkpoint_epoch_N.pth``,
    ``metrics.csv`` and the folder ``evaluation`` to the folder of the results.

    Raises
    ------
    InputError
        If the files cannot be used.
    BundleError
        If the checkpoint to start from cannot be used.
    UsageError
        If the configuration cannot be carried out here.
    CheckFailed
        If the training diverged.
    PartialFailure
        If a signal stopped it.
    """
    gpu = on_gpu(config.training)
    training = EventStream(
        config.data.train_path,
        config.data,
        config.active_tasks,
        shuffle=True,
        seed=config.training.seed,
        max_events=config.data.train_events,
        pin_memory=gpu,
        reweighting=EventWeights.of_config(config.reweighting, config.active_tasks),
    )
    validation = EventStream(
        config.data.val_path,
        config.data,
        config.active_tasks,
        shuffle=False,
        max_events=config.data.val_events,
        pin_memory=gpu,
    )
    best, module = train_on(
        training,
        validation,
        config,
        lambda start: RegressorModule(config, lambda events: _first(config, events), start),
    )
    if module.global_rank == 0:
        finish_training(config, best, module.device)
    return best


def train_on(
    training: Batches,
    validation: Batches,
    config: RegressorConfig,
    build: Callable[[StartingWeights | None], RegressorModule],
) -> tuple[Path, RegressorModule]:
    """Build a module, given weights to start from, train it, return the best checkpoint and it."""
    lightning.seed_everything(config.training.seed, verbose=False)
    resume = find_resume(config.checkpoint, "regressor")
    source = config.checkpoint.resume_from
    start = starting_weights(config, source) if source and resume is None else None
    stop = StopOnSignal()
    module = build(start)
    best = fit(
        module,
        TrainingData(training, validation, stop),
        config,
        CheckpointFiles(config.directory),
        stop=stop,
        resume=resume,
    )
    return best, module


def _first(config: RegressorConfig, events: int) -> Iterator[RawBatch]:
    """Iterate over the first events of the sample, whatever the number of processes."""
    stream = EventStream(
        config.data.train_path,
        config.data,
        config.active_tasks,
        shuffle=True,
        seed=config.training.seed,
        rank=0,
        world=1,
    )
    return islice(stream, math.ceil(events / config.data.batch_size))
