"""Batches for Lightning: every epoch in its own order, from any batch on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

import lightning
import torch

from xec_train.data import RawBatch
from xec_train.training.stop import StopOnSignal

__all__ = ["Batches", "TrainingData"]


class Batches(Protocol):
    """The part of a sample that one process sees, in batches; an ``EventStream`` is one.

    Iterating gives the rest of the epoch ``epoch``; the same epoch comes in the same order.
    """

    epoch: int

    def __len__(self) -> int:
        """Batches an epoch."""
        ...

    def __iter__(self) -> Iterator[RawBatch]: ...

    def state_dict(self) -> Mapping[str, Any]:
        """Return the position, of the batch that comes next: ``epoch``, ``batches``, and more."""
        ...

    def load_state_dict(self, state: Any) -> None:
        """Have the next iteration start at a position."""
        ...


class TrainingData(lightning.LightningDataModule):
    """Training and validation batches, split among the processes.

    Parameters
    ----------
    training, validation
        The samples; each process iterates over its own part.
    stop
        Asked before every batch.
    """

    def __init__(self, training: Batches, validation: Batches, stop: StopOnSignal) -> None:
        super().__init__()
        self.training = training
        self.validation = validation
        self._stop = stop

    def train_dataloader(self) -> EpochLoader:
        """Return the training batches."""
        every = self._trainer.accumulate_grad_batches
        return EpochLoader(self.training, self._epoch, self._stop, every)

    def val_dataloader(self) -> EpochLoader:
        """Return the validation batches, always the same."""
        # Processes may have different numbers of them, so they cannot agree between two.
        alone = self._trainer.world_size == 1
        return EpochLoader(self.validation, lambda: 0, self._stop if alone else None)

    def transfer_batch_to_device(
        self,
        batch: RawBatch,
        device: torch.device,
        dataloader_idx: int,  # noqa: ARG002
    ) -> RawBatch:
        """Move a raw batch; Lightning cannot look into the dataclass."""
        return batch.to(device)

    @property
    def _trainer(self) -> lightning.Trainer:
        assert self.trainer is not None  # noqa: S101 - attached before anything is asked
        return self.trainer

    def _epoch(self) -> int:
        # Of the epoch to come: Lightning counts one as processed before current_epoch moves on.
        progress: Any = self._trainer.fit_loop.epoch_progress
        return int(progress.current.processed)


class EpochLoader:
    """An iterable that Lightning can continue in the middle of an epoch."""

    def __init__(
        self,
        batches: Batches,
        epoch: Callable[[], int],
        stop: StopOnSignal | None,
        every: int = 1,
    ) -> None:
        self._batches = batches
        self._epoch = epoch
        self._stop = stop
        self._every = every
        self._resumed: Mapping[str, Any] | None = None

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[RawBatch]:
        self._batches.epoch = self._epoch()
        if self._resumed is not None and self._resumed["epoch"] == self._batches.epoch:
            self._batches.load_state_dict(self._resumed)
        self._resumed = None
        iterator = iter(self._batches)
        # Not before the first batch: Lightning cannot save between two epochs.
        batch = next(iterator, None)
        while batch is not None:
            yield batch
            # Gradients that wait for a step are not saved: stop between steps.
            if self._stop is not None and self._batches.state_dict()["batches"] % self._every == 0:
                self._stop.check()
            batch = next(iterator, None)

    def state_dict(self) -> dict[str, Any]:
        """Return the place in the data."""
        return dict(self._batches.state_dict())

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Have the next iteration start at a place."""
        self._resumed = state
