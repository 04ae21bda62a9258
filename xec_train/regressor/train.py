"""``xec-train regressor``: from a configuration to checkpoints."""

from __future__ import annotations

from pathlib import Path

from xec_train.config import RegressorConfig
from xec_train.regressor.finish import finish_training
from xec_train.regressor.module import RegressorModule
from xec_train.regressor.start import given_weights
from xec_train.training import first_batches, train, training_stream, validation_stream

__all__ = ["train_regressor"]


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
    tasks = config.active_tasks
    best, module = train(
        "regressor",
        config,
        training_stream(config, tasks),
        validation_stream(config, tasks),
        lambda resumed: RegressorModule(
            config,
            lambda events: first_batches(config, events, tasks),
            None if resumed else given_weights(config),
        ),
    )
    if module.global_rank == 0:
        finish_training(config, best, module.device)
    return best
