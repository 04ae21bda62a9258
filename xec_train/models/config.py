"""What defines a model besides its weights."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

__all__ = ["TASK_DIMENSIONS", "ModelConfig", "TaskName"]

TaskName = Literal["angle", "energy", "timing", "uvwFI", "angleVec", "n_gamma"]

TASK_DIMENSIONS: Final[dict[TaskName, int]] = {
    "angle": 2,
    "energy": 1,
    "timing": 1,
    "uvwFI": 3,
    "angleVec": 3,
    "n_gamma": 5,
}
"""Outputs of each head: degrees, GeV, ns, cm, unit vector, class logits."""


Rate = Annotated[float, Field(ge=0, lt=1)]
Pool = Annotated[int, Field(ge=1)]


class ModelConfig(BaseModel):
    """Architecture of encoder and heads; the names are those of existing checkpoints.

    ``heads`` lists the heads that are built.  Research checkpoints always carry all six,
    ``active_tasks`` says which were trained; the project's own carry only the active ones.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    outer_mode: Literal["finegrid", "split"] = "finegrid"
    outer_fine_pool: tuple[Pool, Pool] | None = None
    encoder_dim: Annotated[int, Field(ge=32)] = 1024
    hex_channels: Annotated[int, Field(ge=8)] = 96
    """Width of the hexagonal faces' encoder: 96 in every research checkpoint, where it costs
    more than all other faces together in a small model."""
    dim_feedforward: Annotated[int, Field(gt=0)] | None = None
    num_fusion_layers: Annotated[int, Field(ge=1)] = 2
    hidden_dim: Annotated[int, Field(gt=0)] = 256
    moments: bool = False
    """Give the heads the moments of the light distribution; no research checkpoint has them."""
    drop_path_rate: Rate = 0.0
    transformer_dropout: Rate = 0.1
    head_dropout: Rate = 0.2
    active_tasks: tuple[TaskName, ...] = ("angle", "energy", "timing", "uvwFI")
    nll_tasks: tuple[TaskName, ...] = ()
    heads: tuple[TaskName, ...] = tuple(TASK_DIMENSIONS)

    @field_validator("encoder_dim")
    @classmethod
    def _multiple_of_32(cls, value: int) -> int:
        if value % 32:
            raise ValueError("must be a multiple of 32: the backbone has encoder_dim / 32 channels")
        return value

    def outputs_of(self, task: TaskName) -> int:
        """Width of a head: twice the outputs for a task trained with variances."""
        return TASK_DIMENSIONS[task] * (2 if task in self.nll_tasks else 1)
