"""What flows from the loaders to the models: raw events and their truth."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from xec_deploy.detector.constants import N_SENSORS
from xec_train.data.truth import TRUTH_COMPONENTS
from xec_train.models import TaskName

__all__ = ["RawBatch"]


@dataclass(frozen=True, eq=False)
class RawBatch:
    """Raw events, invalid values as in the file; normalised on the device.

    Attributes
    ----------
    npho, time
        (batch, 4760) float32: photons and seconds.
    dead
        (batch, 4760) bool.
    targets
        Per task (batch, components) float32 in physical units; ``n_gamma`` (batch, 1), a class.
    weight
        (batch,) float32: how much an event counts in the loss, 1 on average; None for all alike.
    run, event
        (batch,) int64; None where nobody needs them.
    """

    npho: Tensor
    time: Tensor
    dead: Tensor
    targets: dict[TaskName, Tensor]
    weight: Tensor | None = None
    run: Tensor | None = None
    event: Tensor | None = None

    @classmethod
    def empty(
        cls, count: int, tasks: Iterable[TaskName], *, pinned: bool = False, shared: bool = False
    ) -> RawBatch:
        """Allocate the memory for ``count`` events, with run and event and without weight.

        ``pinned`` memory can be copied to a GPU in the background, ``shared`` memory is seen by
        other processes.
        """

        def tensor(width: int | None, dtype: torch.dtype) -> Tensor:
            shape = (count,) if width is None else (count, width)
            new = torch.empty(shape, dtype=dtype, pin_memory=pinned)
            if shared:
                new.share_memory_()  # type: ignore[no-untyped-call]
            return new

        return cls(
            npho=tensor(N_SENSORS, torch.float32),
            time=tensor(N_SENSORS, torch.float32),
            dead=tensor(N_SENSORS, torch.bool),
            targets={task: tensor(TRUTH_COMPONENTS[task], torch.float32) for task in tasks},
            run=tensor(None, torch.int64),
            event=tensor(None, torch.int64),
        )

    def __len__(self) -> int:
        return len(self.npho)

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors."""
        tensors = [*self.tensors().values(), *self.targets.values()]
        return sum(tensor.nbytes for tensor in tensors)

    def tensors(self) -> dict[str, Tensor]:
        """Return the tensors by attribute, without the targets."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if isinstance(value, Tensor)}

    def gather(self, source: RawBatch, rows: Tensor, start: int) -> int:
        """Copy some events of ``source`` to the rows from ``start`` on; return where they end."""
        end = start + len(rows)
        theirs = source.tensors() | source.targets
        for name, mine in (self.tensors() | self.targets).items():
            torch.index_select(theirs[name], 0, rows, out=mine[start:end])
        return end

    def copy(self, source: RawBatch, start: int) -> int:
        """Copy all events of ``source`` to the rows from ``start`` on; return where they end."""
        end = start + len(source)
        theirs = source.tensors() | source.targets
        for name, mine in (self.tensors() | self.targets).items():
            mine[start:end] = theirs[name]
        return end

    def map(self, function: Callable[[Tensor], Tensor]) -> RawBatch:
        """Apply a function to every tensor."""
        return replace(
            self,
            targets={task: function(target) for task, target in self.targets.items()},
            **{name: function(tensor) for name, tensor in self.tensors().items()},
        )

    def to(self, device: torch.device) -> RawBatch:
        """Move to a device."""
        return self.map(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> RawBatch:
        """Copy to page-locked memory; a ``DataLoader`` asks for it with ``pin_memory=True``."""
        return self.map(lambda tensor: tensor.pin_memory())

    def take(self, rows: slice | Tensor) -> RawBatch:
        """Return some of the events."""
        return self.map(lambda tensor: tensor[rows])

    def join(self, other: RawBatch) -> RawBatch:
        """Return these events followed by others, which must have the same tensors."""
        if not len(self):
            return other
        theirs = other.tensors()
        return replace(
            self,
            targets={task: torch.cat([t, other.targets[task]]) for task, t in self.targets.items()},
            **{name: torch.cat([mine, theirs[name]]) for name, mine in self.tensors().items()},
        )
