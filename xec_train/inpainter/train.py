"""``xec-train inpainter``: from a configuration to checkpoints."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import lightning
import torch
from torch import nn

from xec_train.checkpoint import load_inpainter
from xec_train.config import InpainterConfig
from xec_train.data import EventStream, RawBatch
from xec_train.inpainter.module import InpainterModule, mask_sampler, predictions_path
from xec_train.inpainter.predictions import write_predictions
from xec_train.inpainter.start import starting_weights
from xec_train.training import (
    CheckpointFiles,
    StopOnSignal,
    TrainingData,
    find_resume,
    fit,
    on_gpu,
)

__all__ = ["train_inpainter"]

PREFIX = "inpainter_"


def train_inpainter(config: InpainterConfig) -> Path:
    """Train an inpainter; return the path of the best checkpoint.

    Writes ``inpainter_checkpoint_best.pth``, ``inpainter_checkpoint_last.pth``,
    ``inpainter_checkpoint_epoch_N.pth``, ``metrics.csv`` and, as configured, predictions of hidden
    sensors as ROOT to the folder of the results.

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
    lightning.seed_everything(config.training.seed, verbose=False)
    resume = find_resume(config.checkpoint, "inpainter")
    start = starting_weights(config) if resume is None else None
    gpu = on_gpu(config.training)
    training = EventStream(
        config.data.train_path,
        config.data,
        (),
        shuffle=True,
        seed=config.training.seed,
        max_events=config.data.train_events,
        pin_memory=gpu,
    )
    validation = EventStream(
        config.data.val_path,
        config.data,
        (),
        shuffle=False,
        max_events=config.data.val_events,
        pin_memory=gpu,
    )
    stop = StopOnSignal()
    files = CheckpointFiles(config.directory, PREFIX)
    saves = config.checkpoint.save_predictions
    module = InpainterModule(
        config,
        lambda events: _first(config, events),
        start,
        on_interval=(lambda model, epoch: _write(config, model, epoch)) if saves else None,
    )
    best = fit(
        module,
        TrainingData(training, validation, stop),
        config,
        files,
        stop=stop,
        resume=resume,
    )
    if module.global_rank == 0 and saves:
        _write(config, load_inpainter(best).model.to(module.device), None)
    return best


def _write(config: InpainterConfig, model: nn.Module, epoch: int | None) -> None:
    """Write predictions for the validation events."""
    stream = EventStream(
        config.data.val_path,
        config.data,
        (),
        shuffle=False,
        max_events=config.data.val_events,
        rank=0,
        world=1,
    )
    device: torch.device = next(model.parameters()).device
    write_predictions(
        predictions_path(config.directory, epoch),
        model,
        config.normalization,
        mask_sampler(config),
        stream,
        device=device,
        timed="time" in config.model.predict_channels,
        seed=config.training.seed,
    )


def _first(config: InpainterConfig, events: int) -> Iterator[RawBatch]:
    """Iterate over the first events of the sample, whatever the number of processes."""
    stream = EventStream(
        config.data.train_path,
        config.data,
        (),
        shuffle=True,
        seed=config.training.seed,
        rank=0,
        world=1,
    )
    return islice(stream, math.ceil(events / config.data.batch_size))
