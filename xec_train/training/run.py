"""A Lightning trainer out of a configuration, and the fit."""

from __future__ import annotations

import logging
import math
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import lightning
import torch
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.pytorch.callbacks import Callback, RichProgressBar
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.utilities.exceptions import SIGTERMException

from xec_deploy.errors import CheckFailed, PartialFailure, UsageError
from xec_train.checkpoint import Kind
from xec_train.config import InpainterConfig, MaeConfig, RegressorConfig
from xec_train.config.sections import TrainingConfig
from xec_train.training.checkpoints import CheckpointFiles, Checkpoints, WholeFiles
from xec_train.training.data import Batches, TrainingData
from xec_train.training.loggers import build_loggers
from xec_train.training.module import TrainingModule
from xec_train.training.progress import ProgressLines, Throughput
from xec_train.training.resume import Resume, find_resume
from xec_train.training.stop import StopOnSignal

__all__ = ["AnyConfig", "fit", "on_gpu", "train"]

AnyConfig = RegressorConfig | MaeConfig | InpainterConfig
PREFIXES: Final[dict[Kind, str]] = {"regressor": "", "mae": "mae_", "inpainter": "inpainter_"}
"""Of the names of checkpoints."""
Trained = TypeVar("Trained", bound=TrainingModule)

# About Lightning itself and torch, not about the training.
IGNORED: Final = (
    r".*LeafSpec",
    r".*isinstance\(treespec, LeafSpec\)",
    r".*does not have many workers",
    r"Experiment logs directory",
    r"It is recommended to use .*sync_dist=True",
)


def train(
    kind: Kind,
    config: AnyConfig,
    training: Batches,
    validation: Batches,
    build: Callable[[bool], Trained],
) -> tuple[Path, Trained]:
    """Seed, build a module, train it, and return the best checkpoint and the module.

    Parameters
    ----------
    kind
        Of the model; its checkpoints are named after it.
    config
        As for :func:`fit`.
    training, validation
        Batches of events.
    build
        Returns the module; told whether it continues a training, and then needs no weights to start
        from.

    Raises
    ------
    BundleError
        If the checkpoint to continue from cannot be used.
    CheckFailed, PartialFailure, UsageError
        See :func:`fit`.
    """
    lightning.seed_everything(config.training.seed, verbose=False)
    resume = find_resume(config.checkpoint, kind)
    stop = StopOnSignal()
    module = build(resume is not None)
    data = TrainingData(training, validation, stop)
    files = CheckpointFiles(config.directory, PREFIXES[kind])
    return fit(module, data, config, files, stop=stop, resume=resume), module


def fit(
    module: TrainingModule,
    data: TrainingData,
    config: AnyConfig,
    files: CheckpointFiles,
    *,
    stop: StopOnSignal,
    resume: Resume | None = None,
) -> Path:
    """Train, and return the path of the best checkpoint.

    Parameters
    ----------
    module, data
        What to train, and on what.
    config
        Sections ``training``, ``checkpoint``, ``distributed``, ``mlflow`` and ``tensorboard``.
    files
        Where checkpoints go.
    stop
        The request that ``data`` asks for.
    resume
        The training to continue, if any.

    Raises
    ------
    CheckFailed
        If the training diverged.
    PartialFailure
        If a signal stopped it.
    UsageError
        If the accelerator or the number of devices is not there.
    """
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    torch.set_float32_matmul_precision("high")
    files.directory.mkdir(parents=True, exist_ok=True)
    checkpoints = Checkpoints(
        files, config.checkpoint.save_interval, resume.path if resume else None
    )
    trainer = build_trainer(config, files.directory, [stop, checkpoints], resume)
    module.resumed = resume is not None
    module.refresh_lr = config.checkpoint.refresh_lr
    with warnings.catch_warnings():
        for message in IGNORED:
            warnings.filterwarnings("ignore", message=message)
        try:
            trainer.fit(module, datamodule=data, ckpt_path=resume.path if resume else None)
        except SIGTERMException:
            raise PartialFailure(
                f"a signal stopped the training after step {trainer.global_step}",
                where=str(files.last),
                fix=f"Continue with --resume_from {files.last}.",
            ) from None
    if not math.isfinite(checkpoints.best_loss):
        raise CheckFailed(
            "the training diverged: no validation loss is finite",
            where=str(files.directory),
            fix="Lower training.lr, or look for outliers in the truth.",
        )
    return files.best


def on_gpu(options: TrainingConfig) -> bool:
    """Return whether to train on a GPU.

    Raises
    ------
    UsageError
        If the configuration asks for one and none is visible.
    """
    visible = torch.cuda.is_available()
    if options.accelerator in ("gpu", "cuda") and not visible:
        raise UsageError(
            f"training.accelerator is {options.accelerator!r} and no GPU is visible",
            fix="Set training.accelerator to cpu or auto.",
        )
    return visible and options.accelerator != "cpu"


def build_trainer(
    config: AnyConfig, directory: Path, callbacks: list[Callback], resume: Resume | None
) -> lightning.Trainer:
    """Return the trainer of a configuration."""
    options, distributed = config.training, config.distributed
    gpu = on_gpu(options)
    devices = distributed.devices_on(gpu=gpu)
    if gpu and devices > torch.cuda.device_count():
        raise UsageError(
            f"distributed asks for {devices} GPUs and {torch.cuda.device_count()} are visible",
            fix="Lower distributed.num_gpus.",
        )
    throughput = Throughput()
    terminal = sys.stderr.isatty()
    callbacks = [*callbacks, throughput]
    callbacks.append(RichProgressBar() if terminal else ProgressLines(throughput))
    plugins: list[Any] = [WholeFiles()]
    if SLURMEnvironment.detect():
        # Checkpoints on a signal are ours; Lightning would requeue the job behind them.
        plugins.append(SLURMEnvironment(auto_requeue=False))
    return lightning.Trainer(
        accelerator="cuda" if gpu else "cpu",
        devices=devices,
        num_nodes=distributed.num_nodes,
        strategy=_strategy(devices * distributed.num_nodes, distributed.strategy),
        precision=options.precision_on(gpu=gpu),
        max_epochs=options.epochs,
        accumulate_grad_batches=options.grad_accum_steps,
        num_sanity_val_steps=0,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=terminal,
        use_distributed_sampler=False,
        logger=build_loggers(
            directory,
            config.tensorboard,
            config.mlflow,
            resumed_step=resume.step if resume else None,
            mlflow_run_id=resume.mlflow_run_id if resume else None,
        ),
        profiler="simple" if options.profile else None,
        plugins=plugins,
        callbacks=callbacks,
    )


def _strategy(processes: int, stated: str) -> Any:
    if processes == 1 and stated == "auto":
        return "auto"
    return DDPStrategy(
        find_unused_parameters=False, broadcast_buffers=False, gradient_as_bucket_view=True
    )
