"""Configuration of ``xec-train inpainter``."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from xec_train.config.sections import MlflowConfig
from xec_train.config.sensors import SensorConfig, SensorModel, SensorTraining
from xec_train.config.types import Count, FaceName, LayoutChoice, Rate, Share
from xec_train.models import (
    InpainterModelConfig,
    XecInpainterModelConfig,
    XecInpainterNetworkConfig,
)

__all__ = ["InpainterConfig", "InpainterModel", "InpainterTraining"]


class InpainterModel(InpainterModelConfig, SensorModel):
    """The network."""

    # A choice where a research network's own configuration has a fact.
    arch: Literal["research", "xec"] = "research"  # type: ignore[assignment]
    """Architecture: that of existing checkpoints, or the project's own, described by model.xec."""
    xec: XecInpainterNetworkConfig = XecInpainterNetworkConfig()
    mask_ratio: Share | dict[FaceName, Share] = 0.05
    """Share of the valid sensors that is masked, for all or by face."""
    mask_ratio_min: Rate | None = None
    """Each event draws its share between this and mask_ratio; null: always mask_ratio."""
    mask_npho_flat: bool = False
    """Mask sensors evenly in the logarithm of their light."""
    freeze_encoder: bool | None = None
    """Train the heads only; null: where the encoder comes from training.mae_checkpoint."""
    sensor_positions_file: str | None = None
    """Sensor positions (.csv or lines 'id x y z', cm) for the neighbours; null: as designed."""


class InpainterTraining(SensorTraining):
    """Optimisation."""

    epochs: Count = 50
    """Passes over the data."""
    mae_checkpoint: str | None = None
    """Checkpoint of an MAE whose encoder to start from."""
    loss_units: Literal["normalised", "statistics"] = "normalised"
    """Unit of the photon loss: of the normalised input, or the error expected at the predicted
    light (photon statistics and a tenth of it), which with mse leaves no bias in photons."""
    dead_board_probability: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Probability that an event has boards of 16 sensors masked too, one to four of them."""


class InpainterMlflow(MlflowConfig):
    """Logging to MLflow."""

    experiment: str = "inpainting"
    """Name of the experiment."""


class InpainterConfig(SensorConfig):
    """Configuration of ``xec-train inpainter``."""

    model: InpainterModel = InpainterModel()
    training: InpainterTraining = InpainterTraining()
    mlflow: InpainterMlflow = InpainterMlflow()

    @model_validator(mode="after")
    def _trainable(self) -> Self:
        low, high = self.model.mask_ratio_min, self.model.mask_ratio
        if low is not None and (isinstance(high, dict) or low > high):
            raise ValueError("model.mask_ratio_min needs a single model.mask_ratio, not below it")
        if self.model.arch == "xec":
            if self.model.predict_channels != ("npho",):
                raise ValueError("model.predict_channels must be [npho] where model.arch is xec")
            if self.training.mae_checkpoint is not None:
                raise ValueError(
                    "training.mae_checkpoint is an encoder, which model.arch xec does not have"
                )
        return self

    @property
    def layout(self) -> LayoutChoice:
        """Layout in effect."""
        return self.model.layout or ("physical" if self.model.arch == "xec" else "research")

    @property
    def encoder_frozen(self) -> bool:
        """Whether only the heads are trained."""
        if self.model.arch == "xec":
            return False
        stated = self.model.freeze_encoder
        return self.training.mae_checkpoint is not None if stated is None else stated

    def network(self) -> InpainterModelConfig | XecInpainterModelConfig:
        """Return the configuration of the model."""
        if self.model.arch == "xec":
            return XecInpainterModelConfig(**self.model.xec.model_dump())
        names = set(InpainterModelConfig.model_fields)
        return InpainterModelConfig(**self.model.model_dump(include=names))
