"""The base of every training: model, averaged weights, optimiser, schedule, and their state."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Final, TypeVar

import lightning
import numpy as np
import torch
from torch import Tensor, nn

from xec_deploy.errors import BundleError
from xec_deploy.normalisation import Normalisation, normalise_arrays
from xec_train.config.sections import TrainingConfig
from xec_train.data import RawBatch
from xec_train.training.average import WeightAverage
from xec_train.training.loggers import mlflow_run
from xec_train.training.optimiser import GradientGuard, adamw
from xec_train.training.schedules import LearningRate, SchedulePlan

__all__ = ["TrainingModule"]

Gathered = TypeVar("Gathered")
LOG_EVERY: Final = 50
"""Steps between rows of the log."""


class TrainingModule(lightning.LightningModule, ABC):
    """What all trainings have in common; see :mod:`xec_train.training` for what to add.

    Parameters
    ----------
    model
        The network, in the training parametrisation.
    options
        Section ``training`` of the configuration.
    normalisation
        Of the inputs.

    Attributes
    ----------
    average
        Averaged weights, None if ``training.ema_decay`` is null.
    learning_rate
        The schedule, from the start of the fit.
    """

    learning_rate: LearningRate

    def __init__(
        self, model: nn.Module, options: TrainingConfig, normalisation: Normalisation
    ) -> None:
        super().__init__()
        self.model = model
        self.options = options
        self.normalisation = normalisation
        self.average = (
            WeightAverage(model, options.ema_decay) if options.ema_decay is not None else None
        )
        self.steps_per_epoch = 0
        self.resumed = False
        self.refresh_lr = False
        self._guard = GradientGuard(options.grad_clip)
        self._schedule_state: Mapping[str, Any] | None = None

    # What a training adds.

    @abstractmethod
    def training_loss(self, batch: RawBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss to minimise and named parts of it for the log, of raw events.

        Random numbers come from torch's global generators, which are seeded for every batch.
        """

    @abstractmethod
    def validate(self, model: nn.Module, batch: RawBatch) -> None:
        """Evaluate raw events in float32 with the weights to deploy, and keep what is needed."""

    @abstractmethod
    def validation_metrics(self) -> dict[str, float]:
        """Return metrics of the validation and forget it; equal on all processes.

        ``val_loss`` chooses the best checkpoint and drives the plateau schedule.
        """

    @abstractmethod
    def deployable(self) -> dict[str, Any]:
        """Return the entries of a checkpoint that inference needs, for plain numbers and tensors.

        At least ``model_state_dict``, ``ema_state_dict`` and ``config``.
        """

    def prepare(self) -> None:
        """Get a new training ready, in all processes; a resumed one has its state already."""

    # What a training uses.

    @property
    def evaluated(self) -> nn.Module:
        """The model with the weights to deploy: the averaged ones if there are."""
        return self.model if self.average is None else self.average.module

    def normalise(self, batch: RawBatch) -> Tensor:
        """Return the inputs of the network (batch, 4760, 2) of raw events."""
        channels = normalise_arrays(batch.npho, batch.time, batch.dead, self.normalisation, torch)
        return torch.stack(channels, dim=-1)

    def gather(self, mine: Gathered) -> list[Gathered]:
        """Return an object (tensors on the CPU) of every process, by rank, on every process."""
        if self.trainer.world_size == 1:
            return [mine]
        everyone: list[Any] = [None] * self.trainer.world_size
        torch.distributed.all_gather_object(everyone, mine)
        return everyone

    def share(self, mine: Gathered) -> Gathered:
        """Return the object of the first process on every process."""
        shared = [mine]
        if self.trainer.world_size > 1:
            torch.distributed.broadcast_object_list(shared)
        return shared[0]

    # What Lightning calls.

    def setup(self, stage: str) -> None:  # noqa: ARG002
        """Count the steps of an epoch, and spread its validations evenly."""
        data: Any = self.trainer.datamodule  # type: ignore[attr-defined]
        batches = len(data.training)
        accumulated = self.trainer.accumulate_grad_batches
        self.steps_per_epoch = math.ceil(batches / accumulated)
        # Evenly, so that the last one sees the end of the epoch.
        every = self.options.val_every_steps or self.steps_per_epoch
        interval = batches // math.ceil(self.steps_per_epoch / every)
        trainer: Any = self.trainer
        trainer.val_check_interval = interval
        trainer.log_every_n_steps = min(LOG_EVERY, self.steps_per_epoch)
        if not self.resumed:
            self.prepare()

    def configure_model(self) -> None:
        """Compile the network where that is asked for and pays: on a GPU."""
        if self.options.compile != "none" and self.device.type == "cuda":
            mode = None if self.options.compile == "default" else self.options.compile
            self.model.compile(mode=mode, fullgraph=self.options.compile_fullgraph)

    def on_train_batch_start(self, batch: RawBatch, batch_idx: int) -> None:  # noqa: ARG002
        """Seed the generators for this batch.

        A resumed training needs no record of generators: dropout and augmentation of a batch depend
        on its number alone.
        """
        place = [self.options.seed, self.trainer.current_epoch, batch_idx, self.global_rank]
        torch.manual_seed(int(np.random.SeedSequence(place).generate_state(1, np.uint64)[0]))

    def training_step(self, batch: RawBatch, batch_idx: int) -> Tensor:  # noqa: ARG002
        """Return the loss of a batch."""
        loss, parts = self.training_loss(batch)
        self.log_dict({f"train_{name}": part.detach() for name, part in parts.items()}, **_ONCE)
        self.log("train_loss", loss.detach(), prog_bar=True, **_ONCE)
        return loss

    def validation_step(self, batch: RawBatch, batch_idx: int) -> None:  # noqa: ARG002
        """Evaluate a batch at the precision of the deployed model."""
        with torch.autocast(self.device.type, enabled=False):
            self.validate(self.evaluated, batch)

    def on_validation_epoch_end(self) -> None:
        """Log metrics, and let the schedule see the loss."""
        metrics = self.validation_metrics()
        self.learning_rate.validated(metrics["val_loss"])
        # Double: the values are recorded in checkpoints and compared.
        values = {name: torch.tensor(value, dtype=torch.float64) for name, value in metrics.items()}
        self.log_dict(values)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return AdamW; the schedule is set up when training starts."""
        return adamw(self, lr=self.options.lr, weight_decay=self.options.weight_decay)

    def on_train_start(self) -> None:
        """Set up the schedule, new or where the checkpoint left it."""
        optimiser = self.trainer.optimizers[0]
        begin = self.trainer.global_step if self.refresh_lr else 0
        plan = SchedulePlan.of(self.options, self.steps_per_epoch, begin)
        self.learning_rate = LearningRate(optimiser, plan)
        if self._schedule_state is not None and not self.refresh_lr:
            self.learning_rate.load_state_dict(dict(self._schedule_state))

    def configure_gradient_clipping(
        self, optimizer: torch.optim.Optimizer, *_: Any, **__: Any
    ) -> None:
        """Clip, and skip a step whose gradient is not finite."""
        norm = self._guard.clip(optimizer)
        self.log("grad_norm", norm, **_ONCE)
        self.log("skipped_steps", self._guard.skipped, **_ONCE)

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Step, then move the schedule and the averaged weights along."""
        super().optimizer_step(*args, **kwargs)
        self.log("lr", self.learning_rate.value, **_ONCE)
        self.learning_rate.step()
        if self.average is not None:
            self.average.update(self.model, self.trainer.global_step + 1)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what inference reads, under the names of the research code."""
        checkpoint.update(self.deployable())
        checkpoint.update(
            epoch=self.trainer.current_epoch + 1,
            optimizer_state_dict=checkpoint["optimizer_states"][0],
            scheduler_state_dict=self.learning_rate.state_dict(),
            scaler_state_dict=None,
            seed=self.options.seed,
            mlflow_run_id=mlflow_run(self.trainer.loggers),
        )

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take the state of the schedule, if it is of this training.

        Raises
        ------
        BundleError
            If the checkpoint is of another model or another order of events.
        """
        theirs, mine = checkpoint["config"], self.deployable()["config"]
        different = [name for name in mine if mine[name] != theirs.get(name)]
        if different:
            name = different[0]
            raise BundleError(
                f"the checkpoint was trained with {name} {theirs.get(name)!r}, not {mine[name]!r}",
                fix="Leave the configuration as it was, or start from the weights with "
                "checkpoint.reset_epoch.",
            )
        if checkpoint["seed"] != self.options.seed:
            raise BundleError(
                f"the checkpoint was trained with training.seed {checkpoint['seed']}, "
                f"not {self.options.seed}",
                fix="Leave training.seed as it was; the order of events depends on it.",
            )
        self._schedule_state = checkpoint["scheduler_state_dict"]


_ONCE: dict[str, Any] = {"batch_size": 1}
"""Lightning would otherwise look for the batch size inside the batch."""
