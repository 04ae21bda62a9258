"""Configuration of ``xec-train mae``."""

from __future__ import annotations

from xec_train.config.sections import MlflowConfig
from xec_train.config.sensors import EncoderModel, SensorConfig, SensorTraining
from xec_train.config.types import Channel, Count, Share

__all__ = ["MaeConfig", "MaeModel", "MaeTraining"]


class MaeModel(EncoderModel):
    """The network."""

    mask_ratio: Share = 0.6
    """Share of the valid sensors that is masked."""
    predict_channels: tuple[Channel, ...] = ("npho", "time")
    """What is predicted."""
    decoder_dim: Count = 128
    """Width of the decoders."""


class MaeTraining(SensorTraining):
    """Optimisation."""

    auto_channel_weight: bool = False
    """Learn the weights of npho and time."""


class MaeMlflow(MlflowConfig):
    """Logging to MLflow."""

    experiment: str = "mae_pretraining"
    """Experiment."""


class MaeConfig(SensorConfig):
    """Configuration of ``xec-train mae``."""

    model: MaeModel = MaeModel()
    training: MaeTraining = MaeTraining()
    mlflow: MaeMlflow = MaeMlflow()
