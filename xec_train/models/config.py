"""What defines a model besides its weights."""

from __future__ import annotations

from typing import Annotated, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from xec_train.models.tasks import TASK_DIMENSIONS, TaskName

__all__ = [
    "TASK_DIMENSIONS",
    "Channel",
    "EncoderConfig",
    "InpainterModelConfig",
    "MAEModelConfig",
    "ModelConfig",
    "NetworkConfig",
    "TaskName",
]

Channel = Literal["npho", "time"]

GLOBAL_HEADS: Final = 4
"""Heads of the cross-attention over the tokens."""

Rate = Annotated[float, Field(ge=0, lt=1)]
Pool = Annotated[int, Field(ge=1)]
Width = Annotated[int, Field(ge=8, multiple_of=8)]
"""Channels of an inpainting head: its group norm has eight groups."""


class EncoderConfig(BaseModel):
    """Architecture of the encoder; the names are those of existing checkpoints."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    arch: Literal["research"] = "research"
    """Architecture."""
    outer_mode: Literal["finegrid", "split"] = "finegrid"
    """Outer face as one fine grid, or as a coarse image and one of the dense centre."""
    outer_fine_pool: tuple[Pool, Pool] | None = None
    """Window by which the fine grid of 45 x 72 cells is pooled; null: not at all."""
    encoder_dim: Annotated[int, Field(ge=32)] = 1024
    """Width of the tokens, a multiple of 32."""
    hex_channels: Annotated[int, Field(ge=8)] = 96
    """Width of the hexagonal faces' encoder: 96 in every research checkpoint, where it costs
    more than all other faces together in a small model."""
    dim_feedforward: Annotated[int, Field(gt=0)] | None = None
    """Inner width of the transformer; null: four times encoder_dim."""
    num_fusion_layers: Annotated[int, Field(ge=1)] = 2
    """Layers of the transformer that joins the faces."""
    drop_path_rate: Rate = 0.0
    """Share of events for which a residual branch is dropped in training."""
    transformer_dropout: Rate = 0.1
    """Dropout of the transformer."""

    @field_validator("encoder_dim")
    @classmethod
    def _multiple_of_32(cls, value: int) -> int:
        if value % 32:
            raise ValueError("must be a multiple of 32: the backbone has encoder_dim / 32 channels")
        return value


class NetworkConfig(EncoderConfig):
    """Architecture of a regressor, less what follows from its tasks."""

    hidden_dim: Annotated[int, Field(gt=0)] = 256
    """Width of the heads."""
    head_dropout: Rate = 0.2
    """Dropout of the heads."""


class ModelConfig(NetworkConfig):
    """Architecture of a regressor: encoder and heads.

    ``heads`` lists the heads that are built.  Research checkpoints always carry all six,
    ``active_tasks`` says which were trained; the project's own carry only the active ones.
    """

    active_tasks: tuple[TaskName, ...] = ("angle", "energy", "timing", "uvwFI")
    """Tasks that are evaluated."""
    nll_tasks: tuple[TaskName, ...] = ()
    """Tasks trained with variances."""
    heads: tuple[TaskName, ...] = tuple(TASK_DIMENSIONS)
    """Heads that are built."""

    def outputs_of(self, task: TaskName) -> int:
        """Width of a head: twice the outputs for a task trained with variances."""
        return TASK_DIMENSIONS[task] * (2 if task in self.nll_tasks else 1)


class _PredictingConfig(EncoderConfig):
    predict_channels: tuple[Channel, ...] = ("npho",)
    """What is predicted for a hidden sensor, in normalised units: npho, or npho and time."""

    @field_validator("predict_channels")
    @classmethod
    def _npho_first(cls, value: tuple[Channel, ...]) -> tuple[Channel, ...]:
        if value not in (("npho",), ("npho", "time")):
            raise ValueError("must be [npho] or [npho, time]")
        return value


class MAENetworkConfig(_PredictingConfig):
    """Architecture of a masked autoencoder, less what follows from its training."""

    predict_channels: tuple[Channel, ...] = ("npho", "time")
    """What is predicted: npho, or npho and time."""
    decoder_dim: Annotated[int, Field(ge=8, multiple_of=2)] = 128
    """Width of the decoders."""


class MAEModelConfig(MAENetworkConfig):
    """Architecture of a masked autoencoder: encoder and light decoders."""

    learn_channel_logvars: bool = False
    """Whether the model carries a trained log variance for each predicted channel."""


class InpainterModelConfig(_PredictingConfig):
    """Architecture of an inpainter: encoder and heads that predict hidden sensors.

    ``per_face`` heads read the image of a face and the token of that face; ``use_local_context``
    off leaves them the token only, ``use_masked_attention`` predicts from the visible sensors
    around a hidden one.  The ``cross_attention`` head treats all sensors alike: it attends to the
    ``cross_attn_k`` nearest ones and to all tokens.
    """

    head_type: Literal["per_face", "cross_attention"] = "per_face"
    """Convolutions on each face, or attention to near sensors and to the tokens."""
    use_local_context: bool = True
    """Per-face heads see the image of the face, not only its token."""
    use_masked_attention: bool = False
    """Per-face heads predict from the visible sensors around a hidden one."""
    head_channels: Width = 64
    """Width of the heads of rectangular faces; 64 in every research checkpoint."""
    hex_head_channels: Width = 96
    """Width of the heads of hexagonal faces; 96 in every research checkpoint."""
    cross_attn_k: Annotated[int, Field(ge=1, le=512)] = 16
    """Nearest sensors that cross attention sees."""
    cross_attn_hidden: Annotated[int, Field(ge=8)] = 64
    """Width of the attention to near sensors."""
    cross_attn_latent_dim: Annotated[int, Field(ge=8, multiple_of=GLOBAL_HEADS)] = 128
    """Width of the attention to tokens."""
    cross_attn_pos_dim: Annotated[int, Field(ge=6, multiple_of=6)] = 96
    """Width of the encoding of a sensor's position."""

    @model_validator(mode="after")
    def _flags_of_per_face_heads(self) -> Self:
        if self.head_type == "cross_attention" and self.use_masked_attention:
            raise ValueError("use_masked_attention belongs to head_type per_face")
        return self
