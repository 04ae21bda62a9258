"""``xec-train distill``: from teachers and a configuration to a student."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from xec_deploy.events import expand_inputs, find_truth, open_events
from xec_train.config.distill import DistillConfig
from xec_train.data import RawBatch
from xec_train.distill.data import training_batches
from xec_train.distill.module import DistillModule
from xec_train.distill.teachers import Teachers
from xec_train.regressor.finish import finish_training
from xec_train.regressor.start import given_weights
from xec_train.training import on_gpu, train, validation_stream

__all__ = ["train_distilled"]

logger = logging.getLogger(__name__)


def train_distilled(config: DistillConfig) -> Path:
    """Train a student; return the path of its best checkpoint.

    Writes what :func:`~xec_train.regressor.train_regressor` does, but no evaluation where the
    validation files have no truth.  Validation compares with the teachers: no truth is needed.

    Raises
    ------
    InputError
        If the files cannot be used.
    BundleError
        If a teacher, or the checkpoint to start from, cannot be used.
    UsageError
        If the teachers do not know what the student is to learn, or the configuration cannot be
        carried out here.
    CheckFailed
        If the training diverged.
    PartialFailure
        If a signal stopped it.
    """
    teachers = Teachers.of_config(config)
    for teacher in teachers.provenance:
        logger.info("teacher %(path)s: arch %(arch)s, %(parameters)d parameters", teacher)
    best, module = train(
        "regressor",
        config,
        training_batches(config, pin_memory=on_gpu(config.training)),
        validation_stream(config),
        lambda resumed: DistillModule(
            config,
            teachers,
            lambda events: _first(config, events),
            None if resumed else given_weights(config),
        ),
    )
    if module.global_rank == 0:
        finish_training(_evaluable(config), best, module.device)
    return best


def _first(config: DistillConfig, events: int) -> Iterator[RawBatch]:
    """Iterate over the first events of the samples, whatever the number of processes."""
    batches = training_batches(config, rank=0, world=1, everything=True)
    return islice(iter(batches), math.ceil(events / config.data.batch_size))


def _evaluable(config: DistillConfig) -> DistillConfig:
    """Return the configuration, without the evaluation if the validation files lack truth."""
    data = config.data
    path = expand_inputs(list(data.val_path))[0].path
    with open_events(path, npho_branch=data.npho_branch, time_branch=data.time_branch) as events:
        known = {*find_truth(events.names), *data.truth}
    lacking = [task for task in config.active_tasks if task not in known]
    if not lacking or not config.checkpoint.save_artifacts:
        return config
    logger.info("no evaluation: %s has no truth of %s", path, ", ".join(lacking))
    checkpoint = config.checkpoint.model_copy(update={"save_artifacts": False})
    return config.model_copy(update={"checkpoint": checkpoint})
