"""The training configuration: sections and keys of the YAML file."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from xec_deploy.normalisation import Normalisation
from xec_train.models import TASK_DIMENSIONS, ModelConfig, TaskName

__all__ = ["RegressorConfig"]

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Rate = Annotated[float, Field(ge=0, lt=1)]
Count = Annotated[int, Field(ge=1)]


class Section(BaseModel):
    """A group of keys that refuses unknown ones."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class DataConfig(Section):
    """Input files; paths may be globs, lists are concatenated."""

    train_path: tuple[str, ...]
    val_path: tuple[str, ...]
    tree_name: str | None = None
    npho_branch: str | None = None
    time_branch: str | None = None
    dead: str | None = None
    batch_size: Count = 256
    chunksize: Count = 2048
    """Events read and shuffled together; memory is 43 kB an event."""
    train_events: Count | None = None
    """Events an epoch; all of the files if absent."""
    val_events: Count | None = None


class TaskConfig(Section):
    """One quantity to learn.

    ``loss_scale`` gives, per component and in the unit of the quantity, the error that counts as
    one in the loss; it balances the tasks.
    """

    enabled: bool = True
    weight: Positive = 1.0
    loss_fn: Literal["smooth_l1", "l1", "mse"] = "smooth_l1"
    loss_beta: Positive = 1.0
    loss_scale: tuple[Positive, ...] | None = None


class TrainingConfig(Section):
    """Optimisation."""

    epochs: Count = 20
    lr: Positive = 3e-4
    weight_decay: Annotated[float, Field(ge=0)] = 1e-4
    warmup_fraction: Rate = 0.05
    lr_scheduler: Literal["cosine", "none"] = "cosine"
    ema_decay: Rate = 0.999
    grad_clip: Positive = 1.0
    anchor_events: Count = 100_000
    """Events on which the estimates from moments are fitted before the training."""
    channel_dropout_rate: Rate = 0.1
    """Each event loses a random fraction of its channels, uniform from 0 to this."""
    val_every_steps: Count = 500
    seed: Annotated[int, Field(ge=0)] = 1
    accelerator: str = "auto"
    precision: Literal["32-true", "bf16-mixed"] = "32-true"


class CheckpointConfig(Section):
    """Where results go."""

    save_dir: str = "runs/regressor"


class RegressorConfig(Section):
    """Configuration of ``xec-train regressor``."""

    data: DataConfig
    normalization: Normalisation = Normalisation()
    model: ModelConfig = ModelConfig()
    layout: Literal["research", "physical"] = "physical"
    tasks: dict[TaskName, TaskConfig]
    training: TrainingConfig = TrainingConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()

    @model_validator(mode="after")
    def _trainable(self) -> Self:
        if not self.active_tasks:
            raise ValueError("no task is enabled: tasks needs at least one, such as energy")
        if self.model.nll_tasks:
            raise ValueError("model.nll_tasks: training with variances is not available")
        for task in self.active_tasks:
            scale = self.tasks[task].loss_scale
            if scale is not None and len(scale) not in (1, TASK_DIMENSIONS[task]):
                raise ValueError(
                    f"tasks.{task}.loss_scale has {len(scale)} values, "
                    f"expected 1 or {TASK_DIMENSIONS[task]}"
                )
        return self

    @model_validator(mode="after")
    def _tasks_are_stated_once(self) -> Self:
        derived = self.model.model_fields_set & {"active_tasks", "heads"}
        if derived:
            raise ValueError(f"model.{min(derived)} follows from the section tasks; leave it out")
        return self

    @property
    def active_tasks(self) -> tuple[TaskName, ...]:
        """Enabled tasks in the fixed order of outputs."""
        return tuple(
            task for task in TASK_DIMENSIONS if task in self.tasks and self.tasks[task].enabled
        )
