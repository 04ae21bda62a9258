"""Configuration of ``xec-train mae``."""

from __future__ import annotations

from xec_train.config.sections import MlflowConfig
from xec_train.config.sensors import SensorConfig, SensorModel, SensorTraining
from xec_train.config.types import Share
from xec_train.models.config import MAEModelConfig, MAENetworkConfig

__all__ = ["MaeConfig", "MaeModel", "MaeTraining"]


class MaeModel(MAENetworkConfig, SensorModel):
    """The network."""

    mask_ratio: Share = 0.6
    """Share of the valid sensors that is masked."""


class MaeTraining(SensorTraining):
    """Optimisation."""

    auto_channel_weight: bool = False
    """Learn the weights of npho and time."""


class MaeMlflow(MlflowConfig):
    """Logging to MLflow."""

    experiment: str = "mae_pretraining"
    """Name of the experiment."""


class MaeConfig(SensorConfig):
    """Configuration of ``xec-train mae``."""

    model: MaeModel = MaeModel()
    training: MaeTraining = MaeTraining()
    mlflow: MaeMlflow = MaeMlflow()

    def network(self) -> MAEModelConfig:
        """Return the configuration of the model."""
        return MAEModelConfig(
            **self.model.model_dump(exclude={"layout", "mask_ratio"}),
            learn_channel_logvars=self.training.auto_channel_weight,
        )
