"""Events for training: raw tensors streamed from any number of ROOT files."""

from __future__ import annotations

import logging
import math
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import TypedDict

import torch
from torch.utils.data import IterableDataset

from xec_deploy.errors import InputError
from xec_deploy.events import expand_inputs
from xec_train.config.regressor import RegressorData
from xec_train.config.sections import DataConfig
from xec_train.data.batch import RawBatch
from xec_train.data.budget import (
    UNIT_EVENTS,
    Budget,
    evaluation_budget,
    training_budget,
)
from xec_train.data.index import EventCounts, scan_files
from xec_train.data.reweight import EventWeights
from xec_train.data.selection import Selection
from xec_train.data.workers import Part, PieceReader, Plan
from xec_train.models import TaskName

__all__ = ["EventStream", "StreamState"]

logger = logging.getLogger(__name__)


class StreamState(TypedDict):
    """A position in the data: of the batch that comes next, and of which data."""

    epoch: int
    batches: int
    data: str


class EventStream(IterableDataset[RawBatch]):
    """Batches of events, the part of one rank; iterate over it once an epoch.

    Shuffled (for training), the order is drawn anew for every epoch and mixes many units of
    consecutive entries, from all files.  Every batch is full and all ranks have the same number of
    them; the events left over, fewer than one batch of all ranks, are dropped for the epoch.  N
    ranks see, together, what one process with N times the batch (and memory) sees.

    Not shuffled (for evaluation), events come in the order of the files, each exactly once; the
    ranks have consecutive parts of them, and only the last batch of a rank may be shorter.

    Events whose truth is not finite, or outside the fiducial volume, are not counted among the
    events.  An event whose arrays cannot be read is found only on the way: it is left out, and a
    shuffled batch is that much shorter.

    The class starts its own worker processes: give it to a trainer as it is, or in a
    ``DataLoader`` with ``batch_size=None`` and without workers.

    Parameters
    ----------
    paths
        Files, globs, URLs or run lists.
    config
        How they are read; all of it is meant for one rank.  Has ``fiducial`` cuts for a regressor.
    tasks
        Tasks whose truth is needed; none for unlabelled events.
    shuffle
        For training.
    seed
        Of the order.
    max_events
        Events an epoch over all ranks, of the whole (shuffled) order; None for all.
    rank, world
        Number of this process and of all; None to ask ``torch.distributed`` when iterated over.
    pin_memory
        Whether batches lie in page-locked memory, for copies to a GPU in the background.
    reweighting
        Bins by task, for weights that flatten the distribution of the truth; None for none.

    Attributes
    ----------
    num_events
        Events an epoch, over all ranks.
    counts
        What was left out.
    epoch
        The epoch that the next iteration gives.
    unreadable
        Events met so far (by this rank) whose arrays cannot be read.

    Raises
    ------
    InputError
        If a file cannot be used, or nothing is left of them.
    UsageError
        If ``memory_mb`` cannot hold the batches.
    """

    def __init__(
        self,
        paths: Sequence[str],
        config: DataConfig,
        tasks: Sequence[TaskName],
        *,
        shuffle: bool,
        seed: int = 0,
        max_events: int | None = None,
        rank: int | None = None,
        world: int | None = None,
        pin_memory: bool = False,
        reweighting: EventWeights | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        self.tasks = tuple(tasks)
        self.shuffle = shuffle
        self.seed = seed
        self.unreadable = 0
        self.epoch = 0
        self._paths = tuple(paths)
        self._rank, self._world = rank, world
        self._empty = partial(RawBatch.empty, config.batch_size, self.tasks, pinned=pin_memory)
        self._reweighting = reweighting
        self._selection = Selection(
            self.tasks,
            config.fiducial if isinstance(config, RegressorData) else None,
            config.truth,
        )
        inputs = expand_inputs(list(paths), tree=config.tree_name)
        collect = () if reweighting is None else reweighting.tasks
        index = scan_files(inputs, config, self._selection, largest=UNIT_EVENTS, collect=collect)
        if reweighting is not None:
            reweighting.fit(index.truth)
        self._index = replace(index, truth={})
        self.counts: EventCounts = index.counts
        self.num_events = min(index.counts.usable, max_events or index.counts.usable)
        self._first_step = 0
        self._running: tuple[int, int] | None = None
        self._reader: PieceReader | None = None

    @property
    def world(self) -> int:
        """Number of ranks."""
        return self._ranks()[1]

    def __len__(self) -> int:
        """Batches an epoch of this rank."""
        rank, world = self._ranks()
        if self.shuffle:
            return self.num_events // (self.config.batch_size * world)
        share = (rank + 1) * self.num_events // world - rank * self.num_events // world
        return math.ceil(share / self.config.batch_size)

    def __iter__(self) -> Iterator[RawBatch]:
        epoch, first_step = self.epoch, self._first_step
        self.epoch, self._first_step = epoch + 1, 0
        if self.shuffle and not len(self):
            raise InputError(
                f"{self.num_events} events do not fill a batch of {self.config.batch_size} on "
                f"{self.world} processes",
                where=", ".join(self._paths),
                fix="Lower data.batch_size, or add files.",
            )
        self._running = (epoch, first_step)
        batches = self._shuffled(epoch, first_step) if self.shuffle else self._sequential()
        unreadable = self.unreadable
        for number, batch in enumerate(batches, first_step + 1):
            self._running = (epoch, number)
            yield self._weighted(batch)
        self._running = None
        if self.unreadable > unreadable:
            logger.warning(
                "%d events were left out: their arrays cannot be read",
                self.unreadable - unreadable,
            )

    def state_dict(self) -> StreamState:
        """Return the position, of the batch that comes after the last one handed out."""
        epoch, batches = (self.epoch, self._first_step) if self._running is None else self._running
        if self.shuffle and batches >= len(self):
            epoch, batches = epoch + 1, 0
        return {"epoch": epoch, "batches": batches, "data": self._identity()}

    def load_state_dict(self, state: StreamState) -> None:
        """Continue at a position: the next iteration gives the rest of its epoch.

        Where files, batch or memory are not those of the position, its epoch starts anew, with a
        warning.
        """
        self.epoch, self._first_step = state["epoch"], state["batches"]
        self._running = None
        if state["batches"] and state["data"] != self._identity():
            logger.warning(
                "the data or the batch size are not those of the checkpoint: "
                "epoch %d starts from its first batch",
                state["epoch"],
            )
            self._first_step = 0

    def close(self) -> None:
        """End the worker processes; the next iteration starts new ones."""
        if self._reader is not None:
            self._reader.close()

    def _ranks(self) -> tuple[int, int]:
        distributed = torch.distributed
        if self._rank is not None or self._world is not None:
            return self._rank or 0, self._world or 1
        if distributed.is_available() and distributed.is_initialized():
            return distributed.get_rank(), distributed.get_world_size()
        return 0, 1

    def _budget(self) -> Budget:
        largest, units = self._index.largest, len(self._index)
        if self.shuffle:
            return training_budget(self.config, largest=largest, units=units, world=self.world)
        return evaluation_budget(self.config, largest=largest, units=units)

    def _identity(self) -> str:
        batch = self.config.batch_size * self.world
        lanes = self._budget().lanes
        return f"{self._index.fingerprint()}-{self.num_events}-{batch}-{lanes}-{self.seed}"

    def _pieces(self) -> PieceReader:
        """Return the reader of this rank's pieces; made anew only if the ranks have changed."""
        rank, world = self._ranks()
        if self._reader is None or (self._reader.part.rank, self._reader.part.world) != (
            rank,
            world,
        ):
            budget = self._budget()
            plan = Plan(
                index=self._index,
                config=self.config,
                selection=self._selection,
                shuffle=self.shuffle,
                seed=self.seed,
                total=self.num_events,
                lanes=budget.lanes,
                part=Part(rank, world, budget.workers),
            )
            self.close()
            self._reader = PieceReader(plan, budget.prefetch, self._empty)
            # kept alive by this, the workers are ended in order even where the stream is part of
            # a cycle of references; otherwise each of them is waited for in vain
            weakref.finalize(self, self._reader.close)
        return self._reader

    def _shuffled(self, epoch: int, first_step: int) -> Iterator[RawBatch]:
        """Join the pieces of the workers to batches."""
        reader = self._pieces()
        pieces = reader.pieces(epoch, first_step)
        for _ in range(first_step, len(self)):
            batch, filled = None, 0
            for piece, buffer in islice(pieces, max(reader.part.workers, 1)):
                self.unreadable += piece.unreadable
                part = buffer.take(slice(piece.rows))
                if not reader.part.workers:
                    batch, filled = buffer, piece.rows  # memory of its own
                else:
                    batch = batch or self._empty()
                    filled = batch.copy(part, filled)
            if batch is not None and filled:
                yield batch.take(slice(filled))

    def _sequential(self) -> Iterator[RawBatch]:
        """Cut units to batches."""
        size, batch, filled = self.config.batch_size, self._empty(), 0
        for piece, buffer in self._pieces().pieces(0, 0):
            self.unreadable += piece.unreadable
            used = 0
            while used < piece.rows:
                count = min(piece.rows - used, size - filled)
                filled = batch.copy(buffer.take(slice(used, used + count)), filled)
                used += count
                if filled == size:
                    yield batch
                    batch, filled = self._empty(), 0
        if filled:
            yield batch.take(slice(filled))

    def _weighted(self, batch: RawBatch) -> RawBatch:
        if self._reweighting is None:
            return batch
        return replace(batch, weight=self._reweighting(batch.targets))
