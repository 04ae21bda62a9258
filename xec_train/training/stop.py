"""Stopping on a signal, at the same place in every process."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any, Final

import lightning
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities.exceptions import SIGTERMException

__all__ = ["StopOnSignal"]

SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
"""Of schedulers and users; Slurm's ``--signal`` may name any of them."""


class StopOnSignal(Callback):
    """Turns the first signal into a request that is granted between two batches.

    Processes get signals at different moments, or not at all; before each batch they agree, so
    that none waits for gradients of another that has left.  A second signal has its usual effect.
    """

    def __init__(self) -> None:
        self.requested = False
        self._previous: dict[signal.Signals, Any] = {}
        self._trainer: lightning.Trainer | None = None

    def on_train_start(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,  # noqa: ARG002
    ) -> None:
        """Listen; Lightning has set its own handlers before."""
        self._trainer = trainer
        if threading.current_thread() is threading.main_thread():
            self._previous = {number: signal.signal(number, self._listen) for number in SIGNALS}

    def check(self) -> None:
        """Leave the training if any process was asked to.

        Raises
        ------
        SIGTERMException
            On all processes, if so.
        """
        if self._trainer is None:
            return
        requested = self.requested
        if self._trainer.world_size > 1:
            flag = torch.tensor(float(requested), device=self._trainer.strategy.root_device)
            torch.distributed.all_reduce(flag)
            requested = bool(flag)
        if requested:
            raise SIGTERMException

    def on_train_end(
        self,
        trainer: lightning.Trainer,  # noqa: ARG002
        pl_module: lightning.LightningModule,  # noqa: ARG002
    ) -> None:
        """Listen no more."""
        self._restore()

    def on_exception(
        self,
        trainer: lightning.Trainer,  # noqa: ARG002
        pl_module: lightning.LightningModule,  # noqa: ARG002
        exception: BaseException,  # noqa: ARG002
    ) -> None:
        """Listen no more."""
        self._restore()

    def _listen(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        self.requested = True
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}
