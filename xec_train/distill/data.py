"""Batches of events without truth and of some with it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import count
from typing import Any

import torch

from xec_train.config.distill import DistillConfig
from xec_train.data import EventStream, RawBatch
from xec_train.data.truth import TRUTH_COMPONENTS
from xec_train.training import Batches

__all__ = ["JoinedBatches", "training_batches"]


class JoinedBatches:
    """Each batch of one sample followed by one of another, which is repeated as often as it takes.

    An epoch is one of the first sample.  Its events have NaN for the truth they lack.

    Parameters
    ----------
    unlabelled
        Batches without targets.
    labelled
        Batches with targets, of no fewer events than a batch.
    """

    def __init__(self, unlabelled: EventStream, labelled: EventStream) -> None:
        self.unlabelled = unlabelled
        self.labelled = labelled

    @property
    def epoch(self) -> int:
        """The epoch that the next iteration gives."""
        return self.unlabelled.epoch

    @epoch.setter
    def epoch(self, value: int) -> None:
        self.unlabelled.epoch = value

    def __len__(self) -> int:
        """Batches an epoch."""
        return len(self.unlabelled)

    def __iter__(self) -> Iterator[RawBatch]:
        place = self.unlabelled.state_dict()
        labelled = self._labelled(place["epoch"] * len(self) + place["batches"])
        for batch, other in zip(self.unlabelled, labelled, strict=False):
            targets = {
                task: torch.full((len(batch), TRUTH_COMPONENTS[task]), torch.nan)
                for task in self.labelled.tasks
            }
            yield replace(batch, targets=targets).join(other)

    def _labelled(self, first: int) -> Iterator[RawBatch]:
        """Iterate over batches with truth, from the first-th since the training began."""
        epoch, batches = divmod(first, len(self.labelled))
        place = self.labelled.state_dict()
        self.labelled.load_state_dict({**place, "epoch": epoch, "batches": batches})
        for _ in count():
            yield from self.labelled

    def state_dict(self) -> Mapping[str, Any]:
        """Return the position in the sample without truth, on which that in the other depends."""
        return self.unlabelled.state_dict()

    def load_state_dict(self, state: Any) -> None:
        """Have the next iteration start at a position."""
        self.unlabelled.load_state_dict(state)


def training_batches(
    config: DistillConfig,
    *,
    pin_memory: bool = False,
    rank: int | None = None,
    world: int | None = None,
    everything: bool = False,
) -> Batches:
    """Return the batches a student is trained on.

    ``rank`` and ``world`` as for :class:`~xec_train.data.EventStream`; with ``everything``,
    ``data.train_events`` does not limit an epoch.
    """
    options = config.distillation
    limit = None if everything else config.data.train_events

    def stream(paths: tuple[str, ...], size: int, *, truth: bool, limit: int | None) -> EventStream:
        return EventStream(
            paths,
            config.data.model_copy(update={"batch_size": size}),
            config.active_tasks if truth else (),
            shuffle=True,
            seed=config.training.seed,
            max_events=limit,
            rank=rank,
            world=world,
            pin_memory=pin_memory,
        )

    size, paths = config.data.batch_size, config.data.train_path
    if options.labelled_path is None:
        return stream(paths, size, truth=config.truth_of_training, limit=limit)
    share = config.labelled_batch
    rest = size - share
    return JoinedBatches(
        stream(paths, rest, truth=False, limit=None if limit is None else limit * rest // size),
        stream(options.labelled_path, share, truth=True, limit=None),
    )
