"""The regressor as it is trained: scaled heads, losses of the tasks, validation."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from xec_deploy import __version__
from xec_deploy.detector.layout import get_layout
from xec_deploy.normalisation.input_range import measure_input_range
from xec_train.checkpoint import regressor_entries
from xec_train.checkpoint.load import load_strictly
from xec_train.config import RegressorConfig
from xec_train.data import RawBatch
from xec_train.data.augment import lose_channels
from xec_train.data.mirror import random_mirror
from xec_train.models import TaskName, XecRegressor, build_regressor
from xec_train.regressor.anchors import fit_anchors
from xec_train.regressor.metrics import task_metrics
from xec_train.regressor.start import StartingWeights
from xec_train.regressor.targets import (
    CLASSES,
    TargetScales,
    fold_scales,
    learned_target,
    measure_scales,
    scale_heads,
    unfold_scales,
    use_scales,
)
from xec_train.regressor.view_fit import Views, collect_views, fit_corrections
from xec_train.training import TrainingModule
from xec_train.training.balance import AutomaticBalance, ManualBalance
from xec_train.training.losses import class_loss, event_loss
from xec_train.training.optimiser import adamw

__all__ = ["RegressorModule"]

SCALE_EVENTS = 6000
"""Events on which the spread of the targets is measured."""
RANGE_EVENTS = 4000
"""Events whose range of light and times is recorded."""

FirstEvents = Callable[[int], Iterable[RawBatch]]
"""Batches with the first so many events of the training sample, the same in all processes."""


class RegressorModule(TrainingModule):
    """A regressor in training.

    Parameters
    ----------
    config
        The configuration.
    first_events
        Events to measure scales and fit anchors on, before a new training.
    start
        Weights to start from instead of random ones.
    """

    def __init__(
        self,
        config: RegressorConfig,
        first_events: FirstEvents,
        start: StartingWeights | None = None,
    ) -> None:
        network = config.network()
        model = build_regressor(network, get_layout(config.layout), config.normalization)
        scale_heads(model)
        if isinstance(model, XecRegressor):
            # Fitted beforehand; gradient steps of small batches would only add their noise.
            model.anchors.requires_grad_(requires_grad=False)
        super().__init__(model, config.training, config.normalization)
        self.config = config
        self.network = network
        self.balance = (
            AutomaticBalance(config.active_tasks, config.nll_tasks)
            if config.loss_balance == "auto"
            else ManualBalance({task: config.tasks[task].weight for task in config.active_tasks})
        )
        regressed = {task: config.tasks[task] for task in config.active_tasks}
        self.scales = TargetScales(regressed)
        self._first_events = first_events
        self._start = start
        self._collected: dict[TaskName, list[tuple[Tensor, Tensor, Tensor]]] = {}

    def prepare(self) -> None:
        """Measure the scales, load weights to start from, fit the anchors."""
        measured = None
        if self.trainer.is_global_zero:
            measured = measure_scales(
                self._comparable(self._first_events(SCALE_EVENTS)),
                self.config.tasks,
                automatic=self.config.loss_balance == "auto",
            )
        self.scales.use(scales := self.share(measured) or {})
        for model in self._models:
            use_scales(model, scales, anchored=isinstance(model, XecRegressor))
            if self._start is not None:
                learned = unfold_scales(model, self._start.state)
                load_strictly(
                    model,
                    {**model.state_dict(), **learned},
                    self._start.where,
                    into="the regressor to train",
                    fix="Give section model the values of the checkpoint.",
                )
        if isinstance(self.model, XecRegressor) and not (self._start and self._start.has_anchors):
            fitted = self._fit_on_views(self.model) if self.trainer.is_global_zero else None
            shared = self.share(fitted) or {}
            for model in self._models:
                model.load_state_dict(shared)

    @property
    def _models(self) -> list[nn.Module]:
        return [self.model] if self.average is None else [self.model, self.average.module]

    def _fit_on_views(self, model: XecRegressor) -> dict[str, Tensor]:
        """Fit anchors and corrections on views computed once; return the state on the CPU."""
        options = self.config.training
        torch.manual_seed(options.seed)
        model.to(self.device)
        views = collect_views(
            model,
            lambda: self._first_events(options.view_fit.events),
            self.normalise,
            self._augment,
            options.view_fit,
            standardised=self._start is not None,
        )
        self.fit_on(views, model)
        return {name: tensor.cpu() for name, tensor in model.state_dict().items()}

    def fit_on(self, views: Views, model: XecRegressor) -> None:
        """Fit anchors, and corrections if ``view_fit.epochs``, on views and their targets.

        The mean and spread of the model's views and its scales are set before.
        """
        options = self.config.training
        learned = {
            task: learned_target(self.compared(task, target), self.config.tasks[task])
            for task, target in views.targets.items()
            if task != CLASSES
        }
        fit_anchors(
            model,
            views.moments,
            learned,
            copies=options.view_fit.copies,
            noise=self._start.noise if self._start is not None else None,
        )
        if options.view_fit.epochs:
            fit_corrections(
                model,
                views,
                lambda *events: self.balance(self._losses(*events)),
                options.view_fit,
                seed=options.seed,
                bf16=options.precision == "bf16-mixed",
                encoder_lr=options.encoder_lr,
            )

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return AdamW; the encoder may have a smaller learning rate."""
        options = self.config.training
        return adamw(
            self,
            lr=options.lr,
            weight_decay=options.weight_decay,
            slow=self.model.get_submodule("backbone"),
            share=options.encoder_lr,
        )

    def training_loss(self, batch: RawBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the balanced loss and that of each task, of augmented events."""
        batch = self._augment(batch)
        losses = self._losses(self.model(self.normalise(batch)), batch.targets, batch.weight)
        return self.balance(losses), losses

    def _augment(self, batch: RawBatch) -> RawBatch:
        options = self.config.training
        batch = self._mirror(batch) if options.mirror else batch
        return lose_channels(
            batch,
            channel_dropout_rate=options.channel_dropout_rate,
            dead_fraction_max=options.dead_fraction_max,
            dead_board_probability=options.dead_board_probability,
        )

    def _mirror(self, batch: RawBatch) -> RawBatch:
        return random_mirror(batch)

    def compared(self, task: TaskName, target: Tensor) -> Tensor:  # noqa: ARG002
        """Return what predictions are compared with, of the targets of a batch: all of them."""
        return target

    def _comparable(self, batches: Iterable[RawBatch]) -> Iterator[RawBatch]:
        for batch in batches:
            targets = {task: self.compared(task, target) for task, target in batch.targets.items()}
            yield replace(batch, targets=targets)

    def _losses(
        self,
        outputs: Mapping[TaskName, Tensor],
        targets: Mapping[TaskName, Tensor],
        weight: Tensor | None,
    ) -> dict[str, Tensor]:
        losses: dict[str, Tensor] = {}
        for task in self.config.active_tasks:
            events = self._event_loss(task, outputs[task], targets[task])
            losses[task] = (events if weight is None else events * weight).mean()
        return losses

    def validate(self, model: nn.Module, batch: RawBatch) -> None:
        """Keep predictions, truth and losses of the events."""
        outputs = model(self.normalise(batch))
        for task in self.config.active_tasks:
            prediction, target = outputs[task], batch.targets[task]
            loss = self._event_loss(task, prediction, target)
            target = self.compared(task, target)
            if self.config.tasks[task].log_transform:
                prediction = prediction[:, : target.shape[1]].exp()
            kept = (prediction.cpu(), target.cpu(), loss.cpu())
            self._collected.setdefault(task, []).append(kept)

    def validation_metrics(self) -> dict[str, float]:
        """Return metrics of each task, its loss, and ``val_loss``, see :meth:`_validation_loss`."""
        everything = [part for parts in self.gather([self._collected]) for part in parts]
        self._collected = {}
        metrics: dict[str, float] = {}
        relative: dict[str, float] = {}
        for task in self.config.active_tasks:
            kept = [events for part in everything for events in part.get(task, [])]
            prediction, target, loss = (torch.cat(v) for v in zip(*kept, strict=True))
            metrics[f"val_{task}"] = float(loss.double().mean())
            found = task_metrics(task, prediction.numpy(), target.numpy())
            metrics.update({f"val_{name}": value for name, value in found.items()})
            relative[task] = self._relative_error(task, prediction, target)
        metrics["val_loss"] = self._validation_loss(metrics, relative)
        return metrics

    def _validation_loss(
        self, metrics: Mapping[str, float], relative: Mapping[str, float]
    ) -> float:
        """Return the loss that chooses the best checkpoint.

        The trained one, the weighted sum over the tasks, if their units can be added: there is one
        task only, or all have a ``loss_scale``.  Otherwise degrees would drown GeV, and with
        automatic balance the weights would change under the comparison: then the sum of mean
        absolute errors in units of the spread of the truth (for classes, the cross entropy in units
        of that of guessing).
        """
        tasks = self.config.active_tasks
        comparable = len(tasks) == 1 or all(
            self.config.tasks[task].loss_scale is not None for task in tasks if task != CLASSES
        )
        if comparable and isinstance(self.balance, ManualBalance):
            return sum(self.balance.weights[task] * metrics[f"val_{task}"] for task in tasks)
        return sum(relative.values())

    def _relative_error(self, task: TaskName, prediction: Tensor, target: Tensor) -> float:
        if task == CLASSES:
            return float(class_loss(prediction, target).mean()) / math.log(prediction.shape[1])
        target = learned_target(target, self.config.tasks[task])
        means = learned_target(prediction[:, : target.shape[1]], self.config.tasks[task])
        return float(((means - target).abs() / self.scales[task].spread.cpu()).mean())

    def _event_loss(self, task: TaskName, prediction: Tensor, target: Tensor) -> Tensor:
        if task == CLASSES:
            return class_loss(prediction, target)
        options = self.config.tasks[task]
        return event_loss(
            options.loss_fn,
            prediction,
            learned_target(target, options),
            scale=self.scales[task].loss,
            beta=options.loss_beta,
        )

    def deployable(self) -> dict[str, Any]:
        """Return the entries of a checkpoint whose heads emit physical units."""
        metrics = {name: float(v) for name, v in self.trainer.callback_metrics.items()}
        return regressor_entries(
            self.network,
            self.config.layout,
            self.config.normalization,
            model_state=fold_scales(self.model),
            ema_state=fold_scales(self.average.module) if self.average is not None else None,
            log_transform=tuple(
                task for task in self.config.active_tasks if self.config.tasks[task].log_transform
            ),
            training={
                "version": __version__,
                "step": self.trainer.global_step,
                "epoch": self.trainer.current_epoch + 1,
                "metrics": metrics,
                "recipe": self.config.model_dump(mode="json"),
                "input_range": self._input_range,
            },
        )

    @cached_property
    def _input_range(self) -> dict[str, Any] | None:
        """What training events look like: `infer` says when others do not."""
        batches = (
            (batch.npho.numpy(), batch.time.numpy(), batch.dead.numpy())
            for batch in self._first_events(RANGE_EVENTS)
        )
        found = measure_input_range(batches, self.config.normalization.npho_threshold)
        return None if found is None else found.model_dump(mode="json")
