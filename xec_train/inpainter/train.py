"""``xec-train inpainter``: from a configuration to checkpoints."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from xec_train.checkpoint import load_inpainter
from xec_train.config import InpainterConfig
from xec_train.inpainter.module import InpainterModule, mask_sampler, predictions_path
from xec_train.inpainter.predictions import write_predictions
from xec_train.inpainter.start import starting_weights
from xec_train.training import first_batches, train, training_stream, validation_stream

__all__ = ["train_inpainter"]


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
    saves = config.checkpoint.save_predictions
    best, module = train(
        "inpainter",
        config,
        training_stream(config),
        validation_stream(config),
        lambda resumed: InpainterModule(
            config,
            lambda events: first_batches(config, events),
            None if resumed else starting_weights(config),
            on_interval=(lambda model, epoch: _write(config, model, epoch)) if saves else None,
        ),
    )
    if module.global_rank == 0 and saves:
        _write(config, load_inpainter(best).model.to(module.device), None)
    return best


def _write(config: InpainterConfig, model: nn.Module, epoch: int | None) -> None:
    """Write predictions for the validation events."""
    device: torch.device = next(model.parameters()).device
    write_predictions(
        predictions_path(config.directory, epoch),
        model,
        config.normalization,
        mask_sampler(config),
        validation_stream(config, whole=True),
        device=device,
        timed="time" in config.model.predict_channels,
        seed=config.training.seed,
    )
