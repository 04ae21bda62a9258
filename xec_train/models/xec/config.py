"""What defines a model of the project's own architecture besides its weights."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from xec_train.models.tasks import TASK_DIMENSIONS, TaskName

__all__ = ["XecEncoderConfig", "XecMaeModelConfig", "XecModelConfig", "XecNetworkConfig"]

Rate = Annotated[float, Field(ge=0, lt=1)]


class XecNetworkConfig(BaseModel):
    """Architecture of a regressor of arch xec, less what follows from its tasks."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    width: Annotated[int, Field(ge=16)] = 512
    """Width of the layers all tasks share."""
    depth: Annotated[int, Field(ge=1)] = 2
    """Number of those layers."""
    head_width: Annotated[int, Field(ge=8)] = 128
    """Width of the layer each task has of its own."""
    summary_width: Annotated[int, Field(ge=1)] | None = None
    """Numbers to which the whole inner face, the PMTs and the map of live sensors are each
    summarised ahead of the shared layers; null: not at all."""
    dropout: Rate = 0.0
    """Dropout after each shared layer."""
    fovea_rings: Annotated[int, Field(ge=2, le=20)] = 8
    """Points of the view of the inner face on each side of the light, along u and v."""
    fovea_step: Annotated[float, Field(gt=0)] = 1.2
    """Distance of the first of them [cm]."""
    fovea_growth: Annotated[float, Field(ge=1, le=2)] = 1.15
    """Ratio of each distance to the one before."""


class XecModelConfig(XecNetworkConfig):
    """Architecture of a regressor: only the heads in use exist."""

    arch: Literal["xec"] = "xec"
    """Architecture."""
    active_tasks: tuple[TaskName, ...] = ("angle", "energy", "timing", "uvwFI")
    """Tasks that have a head."""
    nll_tasks: tuple[TaskName, ...] = ()
    """Tasks trained with variances."""

    def outputs_of(self, task: TaskName) -> int:
        """Width of a head: twice the outputs for a task trained with variances."""
        return TASK_DIMENSIONS[task] * (2 if task in self.nll_tasks else 1)


class XecEncoderConfig(XecNetworkConfig):
    """Architecture of an encoder alone."""

    arch: Literal["xec"] = "xec"
    """Architecture."""


class XecMaeModelConfig(XecEncoderConfig):
    """Architecture of a masked autoencoder: the encoder and a layer that reads the light off it."""
