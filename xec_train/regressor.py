"""Training of the multi-task regressor with Lightning."""

from __future__ import annotations

import copy
import logging
import math
import warnings
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader

from xec_deploy import __version__
from xec_deploy.detector.layout import get_layout
from xec_deploy.errors import CheckFailed, UsageError
from xec_deploy.normalisation import normalise_arrays
from xec_train.anchors import fit_anchors
from xec_train.checkpoint import save_regressor
from xec_train.config import RegressorConfig, TaskConfig
from xec_train.data import EventStream, RawBatch
from xec_train.models import TaskName, XECMultiHeadModel
from xec_train.targets import TargetScale, fold_scales, measure_scales

__all__ = ["BEST_CHECKPOINT", "LAST_CHECKPOINT", "RegressorModule", "train_regressor"]

BEST_CHECKPOINT = "checkpoint_best.pth"
LAST_CHECKPOINT = "checkpoint_last.pth"
SCALE_EVENTS = 6000
"""Events on which the spread of the targets is measured."""


class RegressorModule(lightning.LightningModule):
    """Model, loss, optimiser and averaged weights of one training."""

    def __init__(
        self, config: RegressorConfig, scales: dict[TaskName, TargetScale], total_steps: int
    ) -> None:
        super().__init__()
        self.config = config
        self.scales = scales
        self.total_steps = total_steps
        model_config = config.network()
        self.model = XECMultiHeadModel(
            model_config, get_layout(config.layout), config.normalization
        )
        if model_config.moments:
            # Fitted beforehand; gradient steps of small batches would only add their noise.
            self.model.anchors.requires_grad_(requires_grad=False)
        self.average = copy.deepcopy(self.model).requires_grad_(requires_grad=False)
        self._residuals: dict[TaskName, list[Tensor]] = {}

    def initialise_anchors(self, batches: Iterable[RawBatch]) -> None:
        """Start both models at the estimate from the moments."""
        moments: list[Tensor] = []
        targets: dict[TaskName, list[Tensor]] = {task: [] for task in self.scales}
        with torch.no_grad():
            for batch in batches:
                moments.append(self.model.moments(self._normalise(batch)))
                for task, parts in targets.items():
                    parts.append(batch.targets[task])
        fitted = fit_anchors(
            self.model,
            torch.cat(moments),
            {task: torch.cat(parts) for task, parts in targets.items()},
            self.scales,
        )
        for model in (self.model, self.average):
            model.load_state_dict({**model.state_dict(), **fitted})

    def _normalise(self, batch: RawBatch) -> Tensor:
        channels = normalise_arrays(
            batch.npho, batch.time, batch.dead, self.config.normalization, torch
        )
        return torch.stack(channels, dim=-1)

    def predict(self, model: XECMultiHeadModel, batch: RawBatch) -> dict[TaskName, Tensor]:
        """Return physical predictions of ``model`` for raw events."""
        outputs, anchors = model.parts(self._normalise(batch))
        return {
            task: anchors.get(task, self.scales[task].mean.to(out))
            + self.scales[task].unit(anchored=model.config.moments).to(out) * out
            for task, out in outputs.items()
        }

    def training_step(self, batch: RawBatch, batch_index: int) -> Tensor:  # noqa: ARG002
        """Return the weighted loss of a batch with randomly dropped channels."""
        rate = self.config.training.channel_dropout_rate * torch.rand(
            len(batch.dead), 1, device=self.device
        )
        dropped = torch.rand(batch.dead.shape, device=self.device) < rate
        batch = RawBatch(batch.npho, batch.time, batch.dead | dropped, batch.targets)
        prediction = self.predict(self.model, batch)
        losses = {
            task: _loss(prediction[task], target, self.scales[task], self.config.tasks[task])
            for task, target in batch.targets.items()
        }
        total = torch.stack(
            [self.config.tasks[task].weight * loss for task, loss in losses.items()]
        ).sum()
        self.log_dict({f"train_{task}": loss for task, loss in losses.items()}, batch_size=1)
        self.log("train_loss", total, prog_bar=True, batch_size=1)
        return total

    def on_train_batch_end(self, *_: Any) -> None:
        """Update the averaged weights."""
        # A plain EMA remembers the random start for 1 / (1 - decay) steps; warm it up.
        step = self.global_step
        decay = min(self.config.training.ema_decay or 0.0, (1 + step) / (10 + step))
        with torch.no_grad():
            for mean, value in zip(self.average.parameters(), self.model.parameters(), strict=True):
                mean.lerp_(value, 1.0 - decay)

    def validation_step(self, batch: RawBatch, batch_index: int) -> None:  # noqa: ARG002
        """Collect residuals of the averaged model."""
        prediction = self.predict(self.average, batch)
        for task, target in batch.targets.items():
            self._residuals.setdefault(task, []).append((prediction[task] - target).cpu())

    def on_validation_epoch_end(self) -> None:
        """Log the loss and, per component, half the central interval holding 68 % (res)."""
        total = 0.0
        for task, parts in self._residuals.items():
            residual = torch.cat(parts)
            config = self.config.tasks[task]
            zero = torch.zeros_like(residual)
            total += config.weight * float(_loss(residual, zero, self.scales[task], config))
            for component, values in enumerate(residual.numpy().T):
                low, high = np.quantile(values, [0.16, 0.84])
                self.log(f"val_{task}_{component}_res", float(high - low) / 2)
        self.log("val_loss", total, prog_bar=True)
        self._residuals.clear()

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """AdamW without decay on biases and norms; cosine schedule after a warm-up."""
        options = self.config.training
        trained = [p for p in self.model.parameters() if p.requires_grad]
        decayed = [p for p in trained if p.ndim > 1]
        plain = [p for p in trained if p.ndim <= 1]
        optimiser = torch.optim.AdamW(
            [
                {"params": decayed, "weight_decay": options.weight_decay},
                {"params": plain, "weight_decay": 0.0},
            ],
            lr=options.lr,
        )
        steps = self.total_steps / options.epochs
        warmup = max(1, round(options.warmup_epochs * steps))

        def factor(step: int) -> float:
            if step < warmup:
                return (step + 1) / warmup
            if options.lr_scheduler == "none":
                return 1.0
            progress = (step - warmup) / max(1, self.total_steps - warmup)
            return 0.5 * (1 + math.cos(math.pi * min(1.0, progress))) + 1e-3

        schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, factor)
        return {
            "optimizer": optimiser,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }

    def transfer_batch_to_device(
        self,
        batch: RawBatch,
        device: torch.device,
        dataloader_idx: int,  # noqa: ARG002
    ) -> RawBatch:
        """Move a raw batch; Lightning cannot look into the dataclass."""
        return batch.to(device)

    def save(self, path: Path, **training: Any) -> None:
        """Write a checkpoint whose heads emit physical units."""
        model = XECMultiHeadModel(
            self.model.config, self.model.backbone.layout, self.config.normalization
        )
        model.load_state_dict({**self.model.state_dict(), **fold_scales(self.model, self.scales)})
        save_regressor(
            path,
            model,
            normalisation=self.config.normalization,
            ema_state={**self.average.state_dict(), **fold_scales(self.average, self.scales)},
            training={"version": __version__, "step": self.global_step, **training},
        )


class _SaveBest(Callback):
    """Write the last checkpoint after each validation, and the best by validation loss."""

    def __init__(self, directory: Path, recipe: dict[str, Any]) -> None:
        self.directory = directory
        self.recipe = recipe
        self.loss = math.inf

    def on_validation_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        """Write the checkpoints."""
        assert isinstance(pl_module, RegressorModule)  # noqa: S101 - this callback is its own
        if trainer.sanity_checking:
            return
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
        loss = metrics["val_loss"]
        details = {"epoch": trainer.current_epoch, "metrics": metrics, "recipe": self.recipe}
        pl_module.save(self.directory / LAST_CHECKPOINT, **details)
        if loss < self.loss:
            self.loss = loss
            pl_module.save(self.directory / BEST_CHECKPOINT, **details)


def train_regressor(config: RegressorConfig) -> Path:
    """Train a regressor; return the path of the best checkpoint.

    Writes ``checkpoint_best.pth``, ``checkpoint_last.pth`` and ``metrics.csv`` to
    ``checkpoint.save_dir``.

    Raises
    ------
    InputError
        If the files cannot be used.
    CheckFailed
        If no validation loss is finite.
    """
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    lightning.seed_everything(config.training.seed, verbose=False)
    tasks = config.active_tasks
    training = EventStream(
        config.data.train_path,
        config.data,
        tasks,
        shuffle=True,
        seed=config.training.seed,
        max_events=config.data.train_events,
    )
    validation = EventStream(
        config.data.val_path, config.data, tasks, shuffle=False, max_events=config.data.val_events
    )
    directory = config.directory
    directory.mkdir(parents=True, exist_ok=True)
    unlimited = EventStream(
        config.data.train_path, config.data, tasks, shuffle=True, seed=config.training.seed
    )
    first = list(_first(unlimited, SCALE_EVENTS))
    unlimited.epoch = 0
    scales = measure_scales(first, config.tasks)
    total_steps = config.training.epochs * len(training)
    module = RegressorModule(config, scales, total_steps)
    del first
    if config.model.moments:
        module.initialise_anchors(_first(unlimited, config.training.anchor_events))
    recipe = config.model_dump(mode="json")
    # Validations spread evenly, so that the last one sees the end of the epoch.
    validations = math.ceil(len(training) / (config.training.val_every_steps or len(training)))
    best = _SaveBest(directory, recipe)
    trainer = lightning.Trainer(
        accelerator=config.training.accelerator,
        devices=1,
        precision=config.training.precision_on(gpu=torch.cuda.is_available()),
        max_epochs=config.training.epochs,
        gradient_clip_val=config.training.grad_clip,
        val_check_interval=len(training) // validations,
        num_sanity_val_steps=0,
        log_every_n_steps=min(50, len(training)),
        enable_checkpointing=False,
        enable_model_summary=False,
        logger=CSVLogger(directory, name="", version=""),
        callbacks=[best],
    )
    with warnings.catch_warnings():
        # Lightning about itself and torch, and about worker processes, which are not used.
        warnings.filterwarnings("ignore", message=r".*LeafSpec")
        warnings.filterwarnings("ignore", message=r".*does not have many workers")
        warnings.filterwarnings("ignore", message=r"Your `IterableDataset` has `__len__`")
        trainer.fit(
            module,
            DataLoader(training, batch_size=None),
            DataLoader(validation, batch_size=None),
        )
    if not math.isfinite(best.loss):
        raise CheckFailed(
            "the training diverged: no validation loss is finite",
            where=str(directory),
            fix="Lower training.lr, or look for outliers in the truth.",
        )
    return directory / BEST_CHECKPOINT


def _first(stream: EventStream, events: int) -> Iterator[RawBatch]:
    return islice(stream, math.ceil(events / stream.config.batch_size))


def _loss(prediction: Tensor, target: Tensor, scale: TargetScale, config: TaskConfig) -> Tensor:
    error = (prediction - target) / scale.loss.to(prediction)
    zero = torch.zeros_like(error)
    match config.loss_fn:
        case "l1":
            return functional.l1_loss(error, zero)
        case "mse" | "l2":
            return functional.mse_loss(error, zero)
        case "smooth_l1":
            return functional.smooth_l1_loss(error, zero, beta=config.loss_beta)
        case other:
            raise UsageError(f"tasks: loss_fn {other!r} is not available in this trainer")
