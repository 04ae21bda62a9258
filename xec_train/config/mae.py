"""Configuration of ``xec-train mae``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from xec_deploy.normalisation import Normalisation
from xec_train.config.sections import (
    CheckpointConfig,
    DataConfig,
    DistributedConfig,
    MlflowConfig,
    SensorLossConfig,
    TensorboardConfig,
)
from xec_train.config.types import Channel, Count, LayoutChoice, Section, Share
from xec_train.models import EncoderConfig

__all__ = ["EncoderModel", "MaeConfig", "MaeModel", "MaeTraining", "SensorCheckpoint", "SensorData"]


class SensorData(DataConfig):
    """Input files and how they are read; no truth is needed."""

    batch_size: Count = 1024
    """Events a step and process."""
    num_workers: Annotated[int, Field(ge=0)] = 4
    """Loader processes, at most one a granted core; 0 reads in the training process."""


class EncoderModel(EncoderConfig):
    """The encoder, as in a regressor."""

    arch: Literal["research"] = "research"
    """Architecture."""
    layout: LayoutChoice | None = None
    """Reading of the outer face and the hexagonal neighbours; null: research."""


class MaeModel(EncoderModel):
    """The network."""

    mask_ratio: Share = 0.6
    """Share of the valid sensors that is masked."""
    predict_channels: tuple[Channel, ...] = ("npho", "time")
    """What is predicted."""
    decoder_dim: Count = 128
    """Width of the decoders."""


class MaeTraining(SensorLossConfig):
    """Optimisation."""

    auto_channel_weight: bool = False
    """Learn the weights of npho and time."""


class SensorCheckpoint(CheckpointConfig):
    """Where results go, and what to continue from."""

    save_predictions: bool = True
    """Write predicted sensors of validation events as ROOT."""
    root_save_interval: Count = 10
    """Epochs between those files."""


class MaeMlflow(MlflowConfig):
    """Logging to MLflow."""

    experiment: str = "mae_pretraining"
    """Experiment."""


class MaeConfig(Section):
    """Configuration of ``xec-train mae``."""

    data: SensorData
    normalization: Normalisation = Normalisation()
    model: MaeModel = MaeModel()
    training: MaeTraining = MaeTraining()
    checkpoint: SensorCheckpoint = SensorCheckpoint()
    distributed: DistributedConfig = DistributedConfig()
    mlflow: MaeMlflow = MaeMlflow()
    tensorboard: TensorboardConfig = TensorboardConfig()

    @property
    def layout(self) -> LayoutChoice:
        """Layout in effect."""
        return self.model.layout or "research"

    @property
    def directory(self) -> Path:
        """Folder of the results."""
        return Path(self.checkpoint.save_dir, self.mlflow.run_name or "")
