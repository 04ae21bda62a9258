"""Configuration of ``xec-train mae``."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from xec_train.config.regressor import ViewFit
from xec_train.config.sections import MlflowConfig
from xec_train.config.sensors import SensorConfig, SensorModel, SensorTraining
from xec_train.config.types import LayoutChoice, NonNegative, Rate, Share
from xec_train.models import XecMaeModelConfig, XecNetworkConfig
from xec_train.models.config import EncoderConfig, MAEModelConfig, MAENetworkConfig

__all__ = ["MaeConfig", "MaeModel", "MaeTraining"]

Probability = Annotated[float, Field(ge=0, le=1)]


class MaeModel(MAENetworkConfig, SensorModel):
    """The network."""

    # A choice where a research network's own configuration has a fact.
    arch: Literal["research", "xec"] = "research"  # type: ignore[assignment]
    """Architecture: that of existing checkpoints, or the project's own, described by model.xec."""
    xec: XecNetworkConfig = XecNetworkConfig()
    mask_ratio: Share = 0.6
    """Share of the valid sensors that is masked."""
    mask_ratio_min: Rate | None = None
    """Each event draws its share between this and mask_ratio; null: always mask_ratio."""
    mask_npho_flat: bool = False
    """Mask sensors evenly in the logarithm of their light."""
    mask_board_probability: Probability = 0.0
    """Probability that an event has boards of 16 sensors masked too, one to four of them."""
    mask_region_probability: Probability = 0.0
    """Probability that an event has a region masked too: all around a random sensor."""
    mask_region_radius: NonNegative = 25.0
    """Largest radius of that region, cm; each event draws its own."""


class MaeTraining(SensorTraining):
    """Optimisation."""

    auto_channel_weight: bool = False
    """Learn the weights of npho and time."""
    mirror: bool = False
    """Mirror events in u and v at random: the design of the detector is symmetric."""
    view_fit: ViewFit = ViewFit()


class MaeMlflow(MlflowConfig):
    """Logging to MLflow."""

    experiment: str = "mae_pretraining"
    """Name of the experiment."""


class MaeConfig(SensorConfig):
    """Configuration of ``xec-train mae``."""

    model: MaeModel = MaeModel()
    training: MaeTraining = MaeTraining()
    mlflow: MaeMlflow = MaeMlflow()

    @model_validator(mode="after")
    def _trainable(self) -> Self:
        low, high = self.model.mask_ratio_min, self.model.mask_ratio
        if low is not None and low > high:
            raise ValueError("model.mask_ratio_min is above model.mask_ratio")
        return self

    @property
    def layout(self) -> LayoutChoice:
        """Layout in effect."""
        return self.model.layout or ("physical" if self.model.arch == "xec" else "research")

    def network(self) -> MAEModelConfig | XecMaeModelConfig:
        """Return the configuration of the model."""
        if self.model.arch == "xec":
            return XecMaeModelConfig(**self.model.xec.model_dump())
        names = {*EncoderConfig.model_fields, *MAENetworkConfig.model_fields}
        return MAEModelConfig(
            **self.model.model_dump(include=names),
            learn_channel_logvars=self.training.auto_channel_weight,
        )
