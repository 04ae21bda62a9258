"""The unit that flows from files to models: a batch of events."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xec_deploy.detector.constants import N_SENSORS

__all__ = ["EventBatch", "SensorArrays"]


@dataclass(frozen=True)
class SensorArrays:
    """Memory to read sensors into: ``npho`` and ``time`` float32, ``dead`` bool, (n, 4760)."""

    npho: NDArray[np.float32]
    time: NDArray[np.float32]
    dead: NDArray[np.bool_]

    @classmethod
    def empty(cls, count: int) -> SensorArrays:
        """Allocate the memory for ``count`` events."""
        shape = count, N_SENSORS
        return cls(np.empty(shape, np.float32), np.empty(shape, np.float32), np.empty(shape, bool))

    def head(self, count: int) -> SensorArrays:
        """Return the memory of the first ``count`` events."""
        return SensorArrays(self.npho[:count], self.time[:count], self.dead[:count])


@dataclass(frozen=True)
class EventBatch:
    """Consecutive events of one file.

    Attributes
    ----------
    entry_start
        Entry number of the first event.
    run, event
        (n,) int64.
    npho
        (n, 4760) float32, raw photons, invalid values as in the file.
    time
        (n, 4760) float32, raw seconds.
    dead
        (n, 4760) bool: dead by the dead-channel source, or npho > 9e9 or not finite.
    readable
        (n,) bool; False where the event has not 4760 channels: its rows are NaN and all dead.
    extra
        The branches kept as they are, (n, ...) in native byte order.
    memory
        Where ``npho``, ``time`` and ``dead`` lie, to be used again; None if they own it.
    """

    entry_start: int
    run: NDArray[np.int64]
    event: NDArray[np.int64]
    npho: NDArray[np.float32]
    time: NDArray[np.float32]
    dead: NDArray[np.bool_]
    readable: NDArray[np.bool_]
    extra: dict[str, NDArray[Any]] = field(default_factory=dict)
    memory: SensorArrays | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.readable)
