"""``xec-train mae``: from a configuration to checkpoints."""

from __future__ import annotations

from pathlib import Path

from xec_train.checkpoint import load_mae, save_encoder
from xec_train.config import MaeConfig
from xec_train.mae.module import MaeModule
from xec_train.mae.predictions import write_predictions
from xec_train.mae.view_module import XecMaeModule
from xec_train.models import XEC_MAE
from xec_train.training import first_batches, train, training_stream, validation_stream

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
    kind = XecMaeModule if config.model.arch == "xec" else MaeModule
    best, module = train(
        "mae",
        config,
        training_stream(config),
        validation_stream(config),
        lambda resumed: kind(
            config,
            lambda events: first_batches(config, events),
            None if resumed else config.checkpoint.resume_from,
        ),
    )
    if module.global_rank == 0:
        loaded = load_mae(best)
        save_encoder(config.directory / ENCODER, loaded.model, training=loaded.training)
        if config.checkpoint.save_predictions and isinstance(loaded.model, XEC_MAE):
            loaded.model.to(module.device)
            write_predictions(config, loaded.model, config.directory / PREDICTIONS)
    return best
