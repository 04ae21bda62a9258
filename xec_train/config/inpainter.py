"""Configuration of ``xec-train inpainter``."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from xec_train.config.sections import MlflowConfig
from xec_train.config.sensors import EncoderModel, SensorConfig, SensorTraining
from xec_train.config.types import Channel, Count, FaceName, Rate, Share

__all__ = ["InpainterConfig", "InpainterModel", "InpainterTraining"]


class InpainterModel(EncoderModel):
    """The network."""

    mask_ratio: Share | dict[FaceName, Share] = 0.05
    """Share of the valid sensors that is masked, for all or by face."""
    mask_ratio_min: Rate | None = None
    """Each event draws its share between this and mask_ratio; null: always mask_ratio."""
    mask_npho_flat: bool = False
    """Mask sensors evenly in the logarithm of their light."""
    predict_channels: tuple[Channel, ...] = ("npho",)
    """What is predicted."""
    head_type: Literal["per_face", "cross_attention"] = "per_face"
    """Convolutions on each face, or attention to neighbours and tokens."""
    freeze_encoder: bool | None = None
    """Train the heads only; null: where the encoder comes from training.mae_checkpoint."""
    use_local_context: bool = True
    """Per-face heads see the sensors around."""
    use_masked_attention: bool = False
    """Cross attention looks at masked sensors only once per event."""
    sensor_positions_file: str | None = None
    """Sensor positions (CSV or text, cm) for the neighbours; null: design positions."""
    cross_attn_k: Count = 16
    """Nearest sensors that cross attention sees."""
    cross_attn_hidden: Count = 64
    """Width of the local attention."""
    cross_attn_latent_dim: Count = 128
    """Width of the attention to tokens."""
    cross_attn_pos_dim: Count = 96
    """Width of a sensor's position."""


class InpainterTraining(SensorTraining):
    """Optimisation."""

    epochs: Count = 50
    """Passes over the data."""
    mae_checkpoint: str | None = None
    """Checkpoint of an MAE whose encoder to start from."""
    dead_board_probability: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Probability that an event has a whole board of 16 masked too."""


class InpainterMlflow(MlflowConfig):
    """Logging to MLflow."""

    experiment: str = "inpainting"
    """Experiment."""


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
        return self

    @property
    def encoder_frozen(self) -> bool:
        """Whether only the heads are trained."""
        stated = self.model.freeze_encoder
        return self.training.mae_checkpoint is not None if stated is None else stated
