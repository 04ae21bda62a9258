"""What a training says of itself: throughput for the loggers, lines for a log file."""

from __future__ import annotations

import time
from typing import Any, Final

import lightning
from lightning.pytorch.callbacks import Callback
from rich.console import Console

from xec_train.data import RawBatch

__all__ = ["ProgressLines", "Throughput"]

LINE_INTERVAL_S: Final = 30.0
WINDOW: Final = 50
"""Batches over which rates are averaged."""


class Throughput(Callback):
    """Logs ``events_per_s`` of all processes and ``data_share``, the part of the time waiting.

    Averaged over some batches, so that a device that works behind its queue counts rightly.
    """

    def __init__(self) -> None:
        self.events_per_s = 0.0
        self.data_share = 0.0
        self._begin()

    def _begin(self) -> None:
        self._started = self._done = time.monotonic()
        self._events = 0
        self._batches = 0
        self._waited = 0.0

    def on_train_epoch_start(self, *_: Any) -> None:
        """Begin to count."""
        self._begin()

    def on_validation_end(self, *_: Any) -> None:
        """Begin anew: validation is not counted."""
        self._begin()

    def on_train_batch_start(self, *_: Any) -> None:
        """Count the time since the last batch as waiting for data."""
        self._waited += time.monotonic() - self._done

    def on_train_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        outputs: Any,  # noqa: ARG002
        batch: RawBatch,
        batch_idx: int,  # noqa: ARG002
    ) -> None:
        """Count a batch."""
        self._done = time.monotonic()
        self._events += len(batch) * trainer.world_size
        self._batches += 1
        elapsed = self._done - self._started
        if elapsed > 0.0:
            self.events_per_s = self._events / elapsed
            self.data_share = self._waited / elapsed
        if self._batches == WINDOW:
            self._begin()
        rates = {"events_per_s": self.events_per_s, "data_share": self.data_share}
        pl_module.log_dict(rates, batch_size=1)


class ProgressLines(Callback):
    """Prints where the training is, every 30 seconds and after every validation."""

    def __init__(self, throughput: Throughput) -> None:
        self.console = Console(stderr=True, highlight=False, soft_wrap=True)
        self._throughput = throughput
        self._last = time.monotonic()

    def on_train_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,  # noqa: ARG002
        outputs: Any,  # noqa: ARG002
        batch: RawBatch,  # noqa: ARG002
        batch_idx: int,
    ) -> None:
        """Print a line if it is time."""
        now = time.monotonic()
        if now - self._last < LINE_INTERVAL_S:
            return
        self._last = now
        metrics = trainer.callback_metrics
        loss = f", loss {float(metrics['train_loss']):.4g}" if "train_loss" in metrics else ""
        self._print(
            trainer,
            f"batch {batch_idx + 1} of {trainer.num_training_batches}{loss}, "
            f"{self._throughput.events_per_s:.0f} events/s",
        )

    def on_validation_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,  # noqa: ARG002
    ) -> None:
        """Print the loss of a validation."""
        self._last = time.monotonic()
        loss = float(trainer.callback_metrics["val_loss"])
        self._print(trainer, f"step {trainer.global_step}, validation loss {loss:.6g}")

    def _print(self, trainer: lightning.Trainer, text: str) -> None:
        if trainer.is_global_zero:
            epochs = f"epoch {trainer.current_epoch + 1} of {trainer.max_epochs}"
            self.console.print(f"train: {epochs}, {text}")
