"""Sections that the configurations of regressor, MAE and inpainter share."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from xec_train.config.types import (
    Compile,
    Count,
    Finite,
    NonNegative,
    Paths,
    Positive,
    Rate,
    Schedule,
    Section,
    Share,
)
from xec_train.models import TaskName

__all__ = [
    "CheckpointConfig",
    "DataConfig",
    "DistributedConfig",
    "Fiducial",
    "MlflowConfig",
    "TensorboardConfig",
    "TrainingConfig",
]


class Fiducial(Section):
    """Events kept by the true position of the first interaction (``uvwTruth``), cm."""

    enabled: bool = False
    """Keep only events whose true first interaction (uvwTruth) is inside."""
    u_max: Positive = 23.9
    """Largest absolute u, cm."""
    v_max: Positive = 67.9
    """Largest absolute v, cm."""
    w_min: Finite = 0.0
    """Smallest depth w, cm."""
    w_max: Finite | None = None
    """Largest depth w, cm; null for no limit."""


class DataConfig(Section):
    """Input files and how they are read."""

    train_path: Paths
    """Files, globs, URLs or @lists to train on."""
    val_path: Paths
    """The same for validation."""
    tree_name: str | None = None
    """Tree or RNTuple; null: found by its branches."""
    npho_branch: str | None = None
    """Branch of photons; null: found by name."""
    time_branch: str | None = None
    """Branch of times, s; null: found by name."""
    truth: dict[TaskName, str] = Field(default_factory=dict)
    """Truth branch of a task, such as {energy: energyReco}, where its name is not a usual one."""
    dead: str | None = None
    """Dead channels: a file of ids, a template with {run}, 'branch[:NAME]' or 'none'; null: the
    branch 'dead' where the file has one."""
    batch_size: Count = 256
    """Events a step and process."""
    chunksize: Count = 256_000
    """Events read and shuffled together, capped by memory_mb."""
    memory_mb: Count = 3072
    """Bound of the buffers of one training process and its loaders, MB; an event is 43 kB."""
    num_workers: Annotated[int, Field(ge=0)] = 8
    """Loader processes, at most one a granted core; 0 reads in the training process."""
    prefetch_factor: Count = 2
    """Batches each loader process keeps ready."""
    train_events: Count | None = None
    """Events an epoch; null for all."""
    val_events: Count | None = None
    """Events a validation; null for all."""


class TrainingConfig(Section):
    """Optimisation, as all three models have it."""

    epochs: Count = 20
    """Passes over the data."""
    lr: Positive = 3e-4
    """Learning rate after the warm-up."""
    weight_decay: NonNegative = 1e-4
    """Weight decay of AdamW, on matrices only."""
    warmup_epochs: NonNegative = 2.0
    """Length of the linear warm-up; may be a fraction."""
    lr_scheduler: Schedule = "none"
    """Course of the learning rate after the warm-up."""
    lr_min: NonNegative = 1e-7
    """Where cosine and plateau end."""
    max_lr: Positive | None = None
    """Peak of onecycle; null: lr."""
    pct_start: Share = 0.3
    """Share of onecycle in which the rate rises."""
    lr_patience: Count = 5
    """Validations without improvement before plateau lowers the rate."""
    lr_factor: Share = 0.5
    """By which plateau lowers it."""
    lr_restart_period: Count = 10
    """Epochs of the first period of cosine_restarts."""
    lr_restart_mult: Count = 2
    """By which each further period is longer."""
    ema_decay: Rate | None = 0.999
    """Decay of the averaged weights a step; null for none."""
    grad_clip: NonNegative = 1.0
    """Largest norm of the gradient; 0 for no limit."""
    grad_accum_steps: Count = 1
    """Batches a step of the optimiser sums."""
    amp: bool = True
    """Train in bf16-mixed on a GPU, where precision is null."""
    precision: Literal["32-true", "bf16-mixed"] | None = None
    """Number format; null: bf16-mixed on a GPU if amp, else 32-true."""
    compile: Compile = "none"
    """Mode of torch.compile; not used on a CPU."""
    compile_fullgraph: bool = False
    """Refuse breaks of the compiled graph."""
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)] = 1
    """Seed of weights, dropout and the order of events."""
    accelerator: Literal["auto", "cpu", "gpu", "cuda"] = "auto"
    """Where to train; auto takes a GPU if there is one."""
    val_every_steps: Count | None = None
    """Steps between validations; null: after every epoch."""
    profile: bool = False
    """Print at the end where the time went."""

    def precision_on(self, *, gpu: bool) -> Literal["32-true", "bf16-mixed"]:
        """Return the precision in effect."""
        return self.precision or ("bf16-mixed" if gpu and self.amp else "32-true")


class CheckpointConfig(Section):
    """Where results go, and what to continue from."""

    save_dir: str = "artifacts"
    """Folder of the results; with mlflow.run_name, the folder of that name in it."""
    save_interval: Count = 10
    """Epochs between checkpoints that are kept."""
    resume_from: str | None = None
    """Checkpoint to continue: the same run if it holds the optimiser, else its weights."""
    reset_epoch: bool = False
    """Take only the weights from resume_from."""
    refresh_lr: bool = False
    """Start the schedule of the learning rate anew, for the epochs that are left."""
    new_mlflow_run: bool = False
    """Log a resumed training as a run of its own."""


class DistributedConfig(Section):
    """Processes that train together."""

    num_gpus: Count = 1
    """GPUs a node; without a GPU, one process."""
    devices: Count | None = None
    """Processes a node, on any accelerator; null: num_gpus."""
    num_nodes: Count = 1
    """Nodes that train together."""
    strategy: Literal["auto", "ddp"] = "auto"
    """How processes share the work; auto: ddp if there are several."""

    def devices_on(self, *, gpu: bool) -> int:
        """Return the number of processes a node."""
        return self.devices or (self.num_gpus if gpu else 1)


class MlflowConfig(Section):
    """Logging to MLflow."""

    enabled: bool | None = None
    """Log to MLflow; null: if it is installed."""
    experiment: str = "gamma_angle"
    """Name of the experiment."""
    run_name: str | None = None
    """Name of the run, and of the folder of its results in checkpoint.save_dir."""
    tracking_uri: str | None = None
    """Server or database; null: MLFLOW_TRACKING_URI, else mlflow.db in the working folder."""


class TensorboardConfig(Section):
    """Logging to TensorBoard."""

    enabled: bool = False
    """Log to TensorBoard."""
    log_dir: str | None = None
    """Folder; null: tensorboard in the folder of the results."""
