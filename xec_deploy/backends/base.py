"""What an engine must do to run a graph."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from xec_deploy.errors import UsageError

__all__ = ["DEFAULT_BATCH", "Backend", "RunOptions"]

DEFAULT_BATCH: Final = 16
"""Small batches stay in the cache of a CPU."""


@dataclass(frozen=True)
class RunOptions:
    """How to run; what is None is chosen.

    Attributes
    ----------
    device
        ``cpu``, ``cuda``, or a numbered GPU as ``cuda:1``.
    batch
        Events a session runs at once; a request of more is cut into batches.
    sessions
        Batches that run at the same time.
    threads
        Threads of each session.
    precision
        Arithmetic asked for, named like the bundle's graphs.
    cuda_graphs
        Whether a GPU's work for a batch may be recorded once and replayed as one.

    Raises
    ------
    UsageError
        If a number is below 1.
    """

    device: str = "cpu"
    batch: int | None = None
    sessions: int | None = None
    threads: int | None = None
    precision: str = "fp32"
    cuda_graphs: bool = True

    def __post_init__(self) -> None:
        for name in ("batch", "sessions", "threads"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageError(f"{name} is {value}", fix="Pass 1 or more.")


class Backend(Protocol):
    """A loaded graph, raw events in, physical quantities out."""

    name: str
    device: str
    options: RunOptions
    """How it runs, with nothing left to choose."""

    def run(
        self, npho: NDArray[np.float32], time: NDArray[np.float32], dead: NDArray[np.bool_]
    ) -> dict[str, NDArray[np.float32]]:
        """Run events, in batches of ``options.batch``; the order is kept.

        Which session runs a batch does not change its results.

        Parameters
        ----------
        npho, time, dead
            (n, 4760) photons, seconds, flags.

        Returns
        -------
        outputs
            Output name -> (n, components) float32.
        """
        ...

    def describe(self) -> dict[str, Any]:
        """Return name, version, device and settings for the provenance."""
        ...
