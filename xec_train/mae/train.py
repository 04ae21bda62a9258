"""``xec-train mae``: from a configuration to checkpoints."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import lightning

from xec_train.checkpoint import load_mae, save_encoder
from xec_train.config import MaeConfig
from xec_train.data import EventStream, RawBatch
from xec_train.mae.module import MaeModule
from xec_train.mae.predictions import write_predictions
from xec_train.mae.view_module import XecMaeModule
from xec_train.models import XEC_MAE
from xec_train.training import (
    CheckpointFiles,
    StopOnSignal,
    TrainingData,
    find_resume,
    fit,
    on_gpu,
)

__all__ = ["ENCODER", "PREDICTIONS", "train_mae"]

ENCODER = "mae_encoder_best.pth"
"""The encoder of the best checkpoint alone."""
PREDICTIONS = "mae_predictions.root"
"""Masked sensors of validation events, and what was predicted."""


def train_mae(config: MaeConfig) -> Path:
    """Train a masked autoencoder; return the path of the best checkpoint.

    No truth is read.  Writes ``mae_checkpoint_best.pth``, ``mae_checkpoint_last.pth``,
    ``mae_checkpoint_epoch_N.pth``, `ENCODER`, ``metrics.csv`` and, of arch research with
    ``checkpoint.save_predictions``, `PREDICTIONS` to the folder of the results.

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
    resume = find_resume(config.checkpoint, "mae")
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
    kind = XecMaeModule if config.model.arch == "xec" else MaeModule
    start = config.checkpoint.resume_from if resume is None else None
    module = kind(config, lambda events: _first(config, events), start)
    best = fit(
        module,
        TrainingData(training, validation, stop),
        config,
        CheckpointFiles(config.directory, "mae_"),
        stop=stop,
        resume=resume,
    )
    if module.global_rank == 0:
        loaded = load_mae(best)
        save_encoder(config.directory / ENCODER, loaded.model, training=loaded.training)
        if config.checkpoint.save_predictions and isinstance(loaded.model, XEC_MAE):
            loaded.model.to(module.device)
            write_predictions(config, loaded.model, config.directory / PREDICTIONS)
    return best


def _first(config: MaeConfig, events: int) -> Iterator[RawBatch]:
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
