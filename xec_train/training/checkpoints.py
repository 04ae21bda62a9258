"""When checkpoints are written, and how: whole, or not at all."""

from __future__ import annotations

import contextlib
import math
import os
import shutil
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.plugins.io import TorchCheckpointIO
from lightning.pytorch.utilities.exceptions import SIGTERMException

from xec_train.checkpoint import open_checkpoint

__all__ = ["CheckpointFiles", "Checkpoints", "WholeFiles"]


class CheckpointFiles:
    """Names of the checkpoints of a training in its folder."""

    def __init__(self, directory: Path, prefix: str = "") -> None:
        self.directory = directory
        self.best = directory / f"{prefix}checkpoint_best.pth"
        self.last = directory / f"{prefix}checkpoint_last.pth"
        self._prefix = prefix

    def epoch(self, number: int) -> Path:
        """Return the checkpoint kept after an epoch, counted from 1."""
        return self.directory / f"{self._prefix}checkpoint_epoch_{number}.pth"


class WholeFiles(TorchCheckpointIO):
    """Writes beside the file, then renames: whoever is killed leaves the old one or the new one.

    Reading executes nothing.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None
    ) -> None:
        """Replace ``path`` atomically."""
        del storage_options
        part = Path(f"{os.fspath(path)}.part")
        with part.open("wb") as stream:
            torch.save(checkpoint, stream)
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(path)

    def load_checkpoint(
        self, path: Any, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read a file of tensors and plain values."""
        del map_location, weights_only
        return open_checkpoint(path)


class Checkpoints(Callback):
    """Writes the last, the best and every so often a lasting checkpoint.

    * the last: after each validation, each epoch, and when the training is told to stop,
    * the best by ``val_loss``: after the validation that says so,
    * a lasting one: every ``interval`` epochs.
    """

    def __init__(
        self, files: CheckpointFiles, interval: int, resumed_from: Path | None = None
    ) -> None:
        self.files = files
        self.interval = interval
        self._resumed_from = resumed_from
        self.best_loss = math.inf
        self._saved_at = -1
        self._stopped_in_validation = False

    def state_dict(self) -> dict[str, Any]:
        """Return the smallest loss so far."""
        return {"best_loss": self.best_loss}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on comparing with the smallest loss of an interrupted training."""
        self.best_loss = state_dict["best_loss"]

    def on_train_start(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,  # noqa: ARG002
    ) -> None:
        """Bring the best checkpoint along if a training is resumed in another folder."""
        if self._resumed_from is None:
            return
        theirs = self._resumed_from.with_name(self.files.best.name)
        here, there = self.files.best.exists(), theirs.exists()
        trainer.strategy.barrier()
        if not here and not there:
            self.best_loss = math.inf
        elif not here and trainer.is_global_zero:
            _copy(theirs, self.files.best)

    def on_save_checkpoint(
        self,
        trainer: lightning.Trainer,  # noqa: ARG002
        pl_module: lightning.LightningModule,  # noqa: ARG002
        checkpoint: dict[str, Any],
    ) -> None:
        """Record the loss, and that an interrupted validation is to be done anew."""
        checkpoint["best_val_loss"] = self.best_loss
        checkpoint["best_ema_state"] = None
        if self._stopped_in_validation:
            # As if the validation had just begun: what it had collected is lost.
            fresh = {"ready": 0, "started": 0, "processed": 0, "completed": 0}
            begun = {**fresh, "ready": 1, "started": 1}
            name = "epoch_loop.val_loop.batch_progress"
            progress = checkpoint["loops"]["fit_loop"]
            progress[name] = {**progress[name], "total": begun, "current": fresh}

    def on_validation_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,  # noqa: ARG002
    ) -> None:
        """Write the last checkpoint, and the best if it is."""
        loss = float(trainer.callback_metrics["val_loss"])
        better = loss < self.best_loss
        if not better:
            self._save_last(trainer)
            return
        # The best first: whoever resumes from the last finds the best that it speaks of.
        self.best_loss = loss
        self._save_last(trainer, self.files.best)

    def on_train_epoch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,  # noqa: ARG002
    ) -> None:
        """Write the last checkpoint unless it is of this step, and the lasting one if due."""
        if self._saved_at != trainer.global_step:
            self._save_last(trainer)
        epoch = trainer.current_epoch + 1
        if epoch % self.interval == 0 and trainer.is_global_zero:
            _copy(self.files.last, self.files.epoch(epoch))

    def on_exception(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,  # noqa: ARG002
        exception: BaseException,
    ) -> None:
        """Write the last checkpoint if the training was told to stop; errors leave it alone."""
        if isinstance(exception, SIGTERMException):
            self._stopped_in_validation = trainer.validating
            self._save_last(trainer)

    def _save_last(self, trainer: lightning.Trainer, first: Path | None = None) -> None:
        for logger in trainer.loggers:
            # Metrics on disk are never older than the checkpoint.
            logger.save()
        trainer.save_checkpoint(first or self.files.last)
        if first is not None and trainer.is_global_zero:
            _copy(first, self.files.last)
        self._saved_at = trainer.global_step


def _copy(source: Path, target: Path) -> None:
    """Replace ``target`` atomically with a file that later renames of ``source`` do not change."""
    part = Path(f"{target}.part")
    part.unlink(missing_ok=True)
    try:
        part.hardlink_to(source)
    except OSError:
        # Some network file systems have no hard links.
        with contextlib.suppress(FileNotFoundError):
            shutil.copyfile(source, part)
    part.replace(target)
