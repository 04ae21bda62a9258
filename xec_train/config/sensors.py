"""Sections of the models that predict sensors: MAE and inpainter."""

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
    TensorboardConfig,
    TrainingConfig,
)
from xec_train.config.types import Count, LayoutChoice, NonNegative, Positive, Rate, Section
from xec_train.models import EncoderConfig

__all__ = [
    "SensorCheckpoint",
    "SensorConfig",
    "SensorData",
    "SensorModel",
    "SensorTraining",
]


class SensorData(DataConfig):
    """Input files and how they are read; no truth is needed."""

    batch_size: Count = 1024
    """Events a step and process."""
    num_workers: Annotated[int, Field(ge=0)] = 4
    """Loader processes, at most one a granted core; 0 reads in the training process."""


class SensorModel(EncoderConfig):
    """The network."""

    layout: LayoutChoice | None = None
    """Reading of the outer face and the hexagonal neighbours; null: research."""


class TimeLossConfig(Section):
    """Times in the loss of MAE and inpainter."""

    weight: NonNegative = 1.0
    """Weight of the time loss."""
    mask_ratio_scale: Positive = 1.0
    """How much likelier a sensor with a time is masked."""
    use_npho_weight: bool = True
    """Weight times by the root of their photons."""


class NphoLossWeight(Section):
    """Weight of bright sensors in the loss, (npho + 1) ** alpha."""

    enabled: bool = False
    """Weight a sensor by (npho + 1) ** alpha."""
    alpha: NonNegative = 0.5
    """Exponent of that weight."""


class IntensityReweighting(Section):
    """Weight of events by their total light."""

    enabled: bool = False
    """Weight events by the inverse frequency of their total light."""
    nbins: Annotated[int, Field(ge=2)] = 5
    """Bins of equal width between the 1 % and 99 % quantiles of the total light."""
    target: Literal["uniform", "sqrt"] = "uniform"
    """Each bin counts the same, or by the root of its events."""


class SensorTraining(TrainingConfig):
    """Optimisation of MAE and inpainter, which predict sensors."""

    lr: Positive = 1e-4
    """Learning rate after the warm-up."""
    warmup_epochs: NonNegative = 0.0
    """Length of the linear warm-up; may be a fraction."""
    lr_min: NonNegative = 1e-6
    """Where cosine and plateau end."""
    ema_decay: Rate | None = None
    """Decay of the averaged weights a step; null for none."""
    loss_fn: Literal["smooth_l1", "huber", "l1", "mse", "l2"] = "smooth_l1"
    """Loss of a masked sensor, in normalised units."""
    loss_beta: Positive = 1.0
    """Where smooth_l1 and huber turn linear, normalised units."""
    npho_weight: NonNegative = 1.0
    """Weight of the photon loss."""
    time: TimeLossConfig = TimeLossConfig()
    track_mae_rmse: bool = True
    """Log mean absolute and root mean square errors."""
    track_metrics: bool = True
    """Log errors by face."""
    npho_loss_weight: NphoLossWeight = NphoLossWeight()
    intensity_reweighting: IntensityReweighting = IntensityReweighting()


class SensorCheckpoint(CheckpointConfig):
    """Where results go, and what to continue from."""

    save_predictions: bool = True
    """Write predicted sensors of validation events as ROOT."""
    root_save_interval: Count = 10
    """Epochs between those files."""


class SensorConfig(Section):
    """What the configurations of MAE and inpainter, which predict sensors, have in common."""

    data: SensorData
    normalization: Normalisation = Normalisation()
    model: SensorModel = SensorModel()
    training: SensorTraining = SensorTraining()
    checkpoint: SensorCheckpoint = SensorCheckpoint()
    distributed: DistributedConfig = DistributedConfig()
    mlflow: MlflowConfig = MlflowConfig()
    tensorboard: TensorboardConfig = TensorboardConfig()

    @property
    def layout(self) -> LayoutChoice:
        """Layout in effect."""
        return self.model.layout or "research"

    @property
    def directory(self) -> Path:
        """Folder of the results."""
        return Path(self.checkpoint.save_dir, self.mlflow.run_name or "")
