"""Configuration of ``xec-train regressor``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from xec_deploy.normalisation import Normalisation
from xec_train.config.sections import (
    CheckpointConfig,
    DataConfig,
    DistributedConfig,
    Fiducial,
    MlflowConfig,
    TensorboardConfig,
    TrainingConfig,
)
from xec_train.config.types import (
    Count,
    LayoutChoice,
    LossName,
    NonNegative,
    Positive,
    Rate,
    Section,
)
from xec_train.models import (
    TASK_DIMENSIONS,
    ModelConfig,
    NetworkConfig,
    TaskName,
    XecModelConfig,
    XecNetworkConfig,
)

__all__ = [
    "ExportConfig",
    "RegressorCheckpoint",
    "RegressorConfig",
    "RegressorData",
    "RegressorModel",
    "RegressorTraining",
    "Reweighting",
    "TaskConfig",
    "ViewFit",
]


class RegressorData(DataConfig):
    """Input files and how they are read."""

    fiducial: Fiducial = Fiducial()


class RegressorModel(NetworkConfig):
    """The network."""

    # A choice where a research network's own configuration has a fact.
    arch: Literal["research", "xec"] = "research"  # type: ignore[assignment]
    """Architecture: that of existing checkpoints, or the project's own, described by model.xec."""
    xec: XecNetworkConfig = XecNetworkConfig()
    layout: LayoutChoice | None = None
    """Reading of the outer face and the hexagonal neighbours; null: research, or physical where
    arch is xec."""


class TaskConfig(Section):
    """One quantity to learn: angle [deg], energy [GeV], timing [ns], uvwFI [cm], angleVec, n_gamma.

    ``n_gamma``, the number of photons from 0 to 4, is always trained with cross entropy.
    """

    enabled: bool = True
    """Whether the task is trained."""
    loss_fn: LossName = "smooth_l1"
    """Loss; gaussian_nll predicts variances too, cosine is for angles."""
    loss_beta: Positive = 1.0
    """Where smooth_l1 and huber turn linear, in loss_scale; the exponent beta of gaussian_nll."""
    loss_scale: tuple[Positive, ...] | Literal["spread"] | None = None
    """Error that counts as one in the loss, for all components or each, in deg, GeV, ns or cm;
    spread: the standard deviation of the truth; null: 1."""
    weight: Positive = 1.0
    """Weight of the task's loss, where loss_balance is manual."""
    log_transform: bool = False
    """Learn the logarithm (energy and timing only)."""


class ViewFit(Section):
    """Fit of the network on views computed once, before the training (arch xec)."""

    events: Count = 100_000
    """Events that are looked at; the anchors are fitted on them."""
    copies: Count = 1
    """Times each is looked at, mirrored and with channels lost anew."""
    epochs: Annotated[int, Field(ge=0)] = 0
    """Times the network is trained through the views; 0: anchors only."""
    batch_size: Count = 512
    """Views a step."""
    lr: Positive = 1e-3
    """Learning rate, falling to zero as a cosine."""
    weight_decay: NonNegative = 0.05
    """Weight decay."""
    ema_decay: Rate = 0.999
    """Decay of the averaged weights the training starts from."""
    memory_mb: Count = 4096
    """Most memory of the views [MB]."""


class RegressorTraining(TrainingConfig):
    """Optimisation."""

    channel_dropout_rate: Rate = 0.1
    """Each event loses a random share of its channels, from 0 to this, as if they were dead."""
    dead_fraction_max: Rate = 0.0
    """A second such share, for dead patterns, which may hold whole boards too."""
    dead_board_probability: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Probability that a dead pattern holds boards of 16 channels, one to four of them."""
    mirror: bool = False
    """Mirror events in u and v at random: the design of the detector is symmetric."""
    encoder_lr: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Share of the learning rate that the encoder has; below 1 where it starts pretrained, 0: it
    stays as it is."""
    view_fit: ViewFit = ViewFit()


class Reweighting(Section):
    """Weight of events by the inverse frequency of a task's truth in the training files."""

    enabled: bool = False
    """Weight events by the inverse frequency of this task's truth."""
    nbins: Count = 30
    """Bins of each component, for energy, timing and uvwFI."""
    nbins_2d: tuple[Count, Count] = (20, 20)
    """Bins in theta and phi, for angle."""


class RegressorCheckpoint(CheckpointConfig):
    """Where results go, and what to continue from."""

    save_artifacts: bool = True
    """Write predictions, metrics and plots at the end."""


class ExportConfig(Section):
    """What is made of the best checkpoint at the end."""

    bundle: str | None = None
    """Bundle (.xec), in the folder of the results."""


class RegressorConfig(Section):
    """Configuration of ``xec-train regressor``."""

    data: RegressorData
    normalization: Normalisation = Normalisation()
    model: RegressorModel = RegressorModel()
    tasks: dict[TaskName, TaskConfig]
    training: RegressorTraining = RegressorTraining()
    loss_balance: Literal["manual", "auto"] = "manual"
    """Weights of the tasks: as stated, or learned from their spread (homoscedastic)."""
    reweighting: dict[TaskName, Reweighting] = Field(default_factory=dict)
    checkpoint: RegressorCheckpoint = RegressorCheckpoint()
    distributed: DistributedConfig = DistributedConfig()
    mlflow: MlflowConfig = MlflowConfig()
    tensorboard: TensorboardConfig = TensorboardConfig()
    export: ExportConfig = ExportConfig()

    @model_validator(mode="after")
    def _trainable(self) -> Self:
        if not self.active_tasks:
            raise ValueError("no task is enabled: tasks needs at least one, such as energy")
        for task in self.active_tasks:
            options = self.tasks[task]
            valid = {1, TASK_DIMENSIONS[task]}
            if isinstance(options.loss_scale, tuple) and len(options.loss_scale) not in valid:
                raise ValueError(
                    f"tasks.{task}.loss_scale has {len(options.loss_scale)} values, "
                    f"expected {' or '.join(map(str, sorted(valid)))}"
                )
            if options.log_transform and task not in ("energy", "timing"):
                raise ValueError(f"tasks.{task}.log_transform is for energy and timing only")
            if options.loss_fn == "cosine" and task not in ("angle", "angleVec"):
                raise ValueError(f"tasks.{task}.loss_fn: cosine is for angle and angleVec only")
        return self

    @property
    def active_tasks(self) -> tuple[TaskName, ...]:
        """Enabled tasks in the fixed order of outputs."""
        return tuple(
            task for task in TASK_DIMENSIONS if task in self.tasks and self.tasks[task].enabled
        )

    @property
    def nll_tasks(self) -> tuple[TaskName, ...]:
        """Active tasks that predict variances."""
        return tuple(t for t in self.active_tasks if self.tasks[t].loss_fn == "gaussian_nll")

    @property
    def layout(self) -> LayoutChoice:
        """Layout in effect."""
        return self.model.layout or ("physical" if self.model.arch == "xec" else "research")

    @property
    def directory(self) -> Path:
        """Folder of the results."""
        return Path(self.checkpoint.save_dir, self.mlflow.run_name or "")

    def network(self) -> ModelConfig | XecModelConfig:
        """Return the configuration of the model, with only the heads in use."""
        tasks = {"active_tasks": self.active_tasks, "nll_tasks": self.nll_tasks}
        if self.model.arch == "xec":
            return XecModelConfig(**self.model.xec.model_dump(), **tasks)
        research = self.model.model_dump(exclude={"layout", "xec"})
        return ModelConfig(**research, **tasks, heads=self.active_tasks)
