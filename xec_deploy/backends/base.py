"""What an engine must do to run a graph."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["Backend", "RunOptions"]


@dataclass(frozen=True)
class RunOptions:
    """How to run: device and threads (None lets the backend choose)."""

    device: str = "cpu"
    threads: int | None = None


class Backend(Protocol):
    """A loaded graph, raw events in, physical quantities out."""

    name: str
    device: str

    def run(
        self, npho: NDArray[np.float32], time: NDArray[np.float32], dead: NDArray[np.bool_]
    ) -> dict[str, NDArray[np.float32]]:
        """Run one batch.

        Parameters
        ----------
        npho, time, dead
            (batch, 4760) photons, seconds, flags.

        Returns
        -------
        outputs
            Output name -> (batch, components) float32.
        """
        ...

    def describe(self) -> dict[str, Any]:
        """Return name, version, device and settings for the provenance."""
        ...
