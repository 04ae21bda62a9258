"""Where metrics go: a CSV file always, TensorBoard and MLflow as configured."""

from __future__ import annotations

import csv
import os
import warnings
from pathlib import Path
from typing import Any, Final

from lightning.pytorch.loggers import CSVLogger, Logger, MLFlowLogger, TensorBoardLogger
from lightning_utilities.core.imports import RequirementCache
from lightning_utilities.core.rank_zero import rank_zero_only

from xec_deploy.errors import MissingExtra
from xec_train.config.sections import MlflowConfig, TensorboardConfig

__all__ = ["METRICS", "build_loggers", "mlflow_run"]

METRICS: Final = "metrics.csv"
FLUSH_EVERY: Final = 20


def build_loggers(
    directory: Path,
    tensorboard: TensorboardConfig,
    mlflow: MlflowConfig,
    *,
    resumed_step: int | None = None,
    mlflow_run_id: str | None = None,
) -> list[Logger]:
    """Return the loggers of a training.

    Parameters
    ----------
    directory
        Of the results; ``metrics.csv`` goes there.
    resumed_step
        Of the checkpoint a training continues from: earlier rows of ``metrics.csv`` are kept.
    mlflow_run_id
        Run of MLflow to continue.

    Raises
    ------
    MissingExtra
        If a logger is asked for and not installed.
    """
    loggers: list[Logger] = [_csv(directory, resumed_step)]
    if tensorboard.enabled:
        if not (RequirementCache("tensorboard") or RequirementCache("tensorboardX")):
            raise MissingExtra("tensorboard", "train", needed_for="tensorboard.enabled")
        folder = tensorboard.log_dir or str(directory / "tensorboard")
        loggers.append(TensorBoardLogger(folder, name="", version="", default_hp_metric=False))
    installed = bool(RequirementCache("mlflow"))
    if mlflow.enabled and not installed:
        raise MissingExtra("mlflow", "mlflow", needed_for="mlflow.enabled")
    if mlflow.enabled or (mlflow.enabled is None and installed):
        default = os.environ.get("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db")
        loggers.append(
            MLFlowLogger(
                experiment_name=mlflow.experiment,
                run_name=mlflow.run_name,
                tracking_uri=mlflow.tracking_uri or default,
                run_id=mlflow_run_id,
            )
        )
    return loggers


def mlflow_run(loggers: list[Logger]) -> str | None:
    """Return the id of the MLflow run, None without MLflow."""
    for logger in loggers:
        if isinstance(logger, MLFlowLogger):
            return logger.run_id
    return None


def _csv(directory: Path, resumed_step: int | None) -> CSVLogger:
    file = directory / METRICS
    rows: list[dict[str, Any]] = []
    if resumed_step is not None and file.is_file():
        with file.open(newline="") as stream:
            rows = [
                {name: value for name, value in row.items() if value}
                for row in csv.DictReader(stream)
                if int(row["step"]) < resumed_step
            ]
    logger = CSVLogger(directory, name="", version="", flush_logs_every_n_steps=FLUSH_EVERY)
    _open(logger, rows)
    return logger


@rank_zero_only
def _open(logger: CSVLogger, rows: list[dict[str, Any]]) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Experiment logs directory")
        # Opening it deletes the file; what is kept goes to the front of the new one.
        logger.experiment.metrics.extend(rows)
