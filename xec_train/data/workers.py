"""Reading in worker processes, through shared memory that is allocated once.

New shared memory for every batch, as a ``DataLoader`` takes it by default, costs as much as the
decompression: every page of it is cleared and mapped anew.  Here each worker owns a ring of
buffers.  It has one more than the batches the loader asks of it in advance, so that a buffer
is written again only after the training process has copied it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import cycle

import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from xec_deploy.errors import XecError
from xec_train.config.sections import DataConfig
from xec_train.data.batch import RawBatch
from xec_train.data.index import EventIndex
from xec_train.data.order import EpochOrder, split
from xec_train.data.pieces import LanePool, Piece, shuffled_pieces, unit_pieces
from xec_train.data.selection import Selection
from xec_train.data.units import UnitReader

__all__ = ["Part", "PieceReader", "Plan"]


@dataclass(frozen=True)
class Part:
    """The part of a rank: its number among all, and the workers that share it."""

    rank: int
    world: int
    workers: int


@dataclass(frozen=True)
class Plan:
    """Everything a process needs to know to find its pieces."""

    index: EventIndex
    config: DataConfig
    selection: Selection
    shuffle: bool
    seed: int
    total: int
    lanes: int
    part: Part

    def order(self, epoch: int) -> EpochOrder:
        """Return the order of an epoch."""
        return EpochOrder(
            self.index.usable,
            total=self.total,
            batch=self.config.batch_size * self.part.world,
            lanes=self.lanes,
            seed=self.seed,
            epoch=epoch,
        )

    def lanes_of(self, worker: int) -> range:
        """Return the lanes of a worker of the rank."""
        each = self.lanes // self.part.world
        edges = self.part.rank * each + split(each, max(self.part.workers, 1))
        return range(int(edges[worker]), int(edges[worker + 1]))

    def rows_of(self, worker: int) -> int:
        """Return the rows a buffer of a worker needs."""
        if not self.shuffle:
            return self.index.largest
        shares = split(self.config.batch_size * self.part.world, self.lanes)
        lanes = self.lanes_of(worker)
        return int(shares[lanes.stop] - shares[lanes.start])

    @property
    def events(self) -> range:
        """Usable events of the rank, where they are read in the order of the files."""
        edges = split(self.total, self.part.world)
        return range(int(edges[self.part.rank]), int(edges[self.part.rank + 1]))

    def units_of(self, worker: int) -> list[int]:
        """Return the units of a worker, where they are read in the order of the files."""
        edges = self.index.usable.cumsum()
        events = self.events
        first = int(edges.searchsorted(events.start, side="right"))
        last = int(edges.searchsorted(events.stop, side="left"))
        units = [u for u in range(first, last + 1) if self.index.usable[u]] if events else []
        return units[worker :: max(self.part.workers, 1)]


class PieceSource:
    """Pieces of one process, epoch by epoch; keeps files open and memory allocated."""

    def __init__(self, plan: Plan, worker: int) -> None:
        self._plan = plan
        self._worker = worker
        self._reader = UnitReader(plan.index, plan.config, plan.selection)
        self._pool: LanePool | None = None

    def pieces(
        self, epoch: int, first_step: int, buffers: Iterator[tuple[int, RawBatch]]
    ) -> Iterator[Piece]:
        """Iterate over the pieces of an epoch from a batch on."""
        plan = self._plan
        if not plan.shuffle:
            units = plan.units_of(self._worker)
            return unit_pieces(plan.index, self._reader, units, plan.events, buffers)
        if self._pool is None:
            lanes = plan.lanes_of(self._worker)
            rows = LanePool.rows_needed(plan.index, lanes)
            memory = RawBatch.empty(rows, plan.selection.tasks)
            self._pool = LanePool(plan.index, self._reader, lanes, memory)
        return shuffled_pieces(plan.order(epoch), self._pool, first_step, buffers)


class WorkerPieces(IterableDataset["Piece | XecError"]):
    """The dataset of a ``DataLoader`` with workers: which buffer holds the next piece.

    Attributes
    ----------
    rings
        For each worker, its shared buffers.
    position
        (2,) int64 in shared memory: epoch and batch at which the next iteration starts.
    """

    def __init__(self, plan: Plan, prefetch: int) -> None:
        super().__init__()
        self._plan = plan
        self._source: PieceSource | None = None
        self.rings = [
            [
                RawBatch.empty(plan.rows_of(worker), plan.selection.tasks, shared=True)
                for _ in range(prefetch + 1)
            ]
            for worker in range(plan.part.workers)
        ]
        self.position: Tensor = torch.zeros(2, dtype=torch.int64)
        self.position.share_memory_()  # type: ignore[no-untyped-call]

    def __iter__(self) -> Iterator[Piece | XecError]:
        info = get_worker_info()
        if info is None:
            raise RuntimeError("pieces are made in worker processes")
        if self._source is None:
            self._source = PieceSource(self._plan, info.id)
        epoch, first_step = self.position.tolist()
        try:
            buffers = cycle(enumerate(self.rings[info.id]))
            for piece in self._source.pieces(epoch, first_step, buffers):
                yield replace(piece, worker=info.id)
        except XecError as error:
            # as it is: the loader would raise one whose message is a traceback
            yield error


class PieceReader:
    """Pieces of one rank, read in this process or in workers.

    Parameters
    ----------
    plan, prefetch
        What is read, and how many pieces each worker keeps ready.
    allocate
        Makes an empty batch; used for shuffled pieces that are read in this process.
    """

    def __init__(self, plan: Plan, prefetch: int, allocate: Callable[[], RawBatch]) -> None:
        self.part = plan.part
        self._plan = plan
        self._prefetch = prefetch
        self._allocate = allocate
        self._source: PieceSource | None = None
        self._dataset: WorkerPieces | None = None
        self._loader: DataLoader[Piece | XecError] | None = None

    def pieces(self, epoch: int, first_step: int) -> Iterator[tuple[Piece, RawBatch]]:
        """Iterate over the pieces of an epoch, worker by worker in turn, and where they lie.

        A buffer is valid until the next piece of the same worker is asked for; one of a shuffled
        piece read in this process belongs to the caller.
        """
        if self.part.workers:
            yield from self._from_workers(epoch, first_step)
        else:
            yield from self._from_here(epoch, first_step)

    def _from_here(self, epoch: int, first_step: int) -> Iterator[tuple[Piece, RawBatch]]:
        self._source = self._source or PieceSource(self._plan, 0)
        tasks, rows = self._plan.selection.tasks, self._plan.rows_of(0)
        made: list[RawBatch] = [] if self._plan.shuffle else [RawBatch.empty(rows, tasks)]

        def buffers() -> Iterator[tuple[int, RawBatch]]:
            while True:
                if self._plan.shuffle:
                    made[:] = [self._allocate()]
                yield 0, made[0]

        for piece in self._source.pieces(epoch, first_step, buffers()):
            yield piece, made[0]

    def _from_workers(self, epoch: int, first_step: int) -> Iterator[tuple[Piece, RawBatch]]:
        if self._dataset is None or self._loader is None:
            self._dataset = WorkerPieces(self._plan, self._prefetch)
            self._loader = DataLoader(
                self._dataset,
                batch_size=None,
                num_workers=self.part.workers,
                prefetch_factor=self._prefetch,
                persistent_workers=True,
            )
        self._dataset.position.copy_(torch.tensor([epoch, first_step]))
        rings = self._dataset.rings
        for item in self._loader:
            if isinstance(item, XecError):
                failure = item
                break
            yield item, rings[item.worker][item.buffer]
        else:
            return
        del item
        self.close()
        raise failure

    def close(self) -> None:
        """End the workers; the next iteration starts new ones."""
        self._loader = self._dataset = None
