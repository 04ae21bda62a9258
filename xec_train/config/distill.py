"""Configuration of ``xec-train distill``."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from xec_train.config.regressor import RegressorConfig
from xec_train.config.types import Paths, Section, Share

__all__ = ["DistillConfig", "Distillation"]


class Distillation(Section):
    """What the student learns from."""

    teachers: Paths
    """Checkpoints of regressors, of any architecture; the outputs of several are averaged."""
    label_weight: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Weight of the truth in the loss of an event that has it, the teachers have the rest of 1;
    0: no truth is read."""
    labelled_path: Paths | None = None
    """Files with truth beside those of data.train_path, which then need none; null: with a
    label_weight, the files of data.train_path have truth."""
    labelled_share: Share = 0.5
    """Share of each batch that comes from labelled_path."""


class DistillConfig(RegressorConfig):
    """Configuration of ``xec-train distill``: that of the student, and its teachers."""

    distillation: Distillation

    @model_validator(mode="after")
    def _teachable(self) -> Self:
        weighted = [task for task, options in self.reweighting.items() if options.enabled]
        if weighted:
            raise ValueError(
                f"reweighting.{weighted[0]}.enabled counts the truth of all events, which a "
                "distillation does not have"
            )
        options = self.distillation
        if options.labelled_path is not None:
            if options.label_weight == 0:
                raise ValueError(
                    "distillation.labelled_path is not used without a distillation.label_weight"
                )
            if not 0 < self.labelled_batch < self.data.batch_size:
                raise ValueError(
                    "distillation.labelled_share of a batch of data.batch_size "
                    f"{self.data.batch_size} is {self.labelled_batch} events"
                )
        return self

    @property
    def labelled_batch(self) -> int:
        """Events of a batch that come from ``labelled_path``."""
        return round(self.distillation.labelled_share * self.data.batch_size)

    @property
    def truth_of_training(self) -> bool:
        """Whether the files of ``data.train_path`` must have truth."""
        return self.distillation.label_weight > 0 and self.distillation.labelled_path is None
