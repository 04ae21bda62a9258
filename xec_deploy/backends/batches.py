"""A request of many events, cut into batches that several sessions work off."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Arrays", "BatchRunner", "BatchedBackend", "Session"]

Arrays = tuple[NDArray[Any], ...]
Session = Callable[[Arrays], Sequence[NDArray[np.float32]]]
"""Runs one batch of the inputs, in the graph's order, and returns the outputs in theirs."""


class BatchRunner:
    """Runs requests of any size in batches, on as many threads as there are sessions.

    Parameters
    ----------
    sessions
        Each runs one batch at a time.
    batch
        Events of a batch.
    pad
        Whether sessions take full batches only: the last one is filled with copies of its last
        event, whose results are dropped.
    """

    def __init__(self, sessions: Sequence[Session], batch: int, *, pad: bool = False) -> None:
        self._batch, self._pad = batch, pad
        self._free: SimpleQueue[Session] = SimpleQueue()
        for session in sessions:
            self._free.put(session)
        # Threads start with the first request that needs them.
        self._pool = ThreadPoolExecutor(len(sessions), thread_name_prefix="xec-session")
        self._sessions = len(sessions)

    def __call__(self, inputs: Arrays) -> list[NDArray[np.float32]]:
        """Return the outputs of all events, in their order.

        Parameters
        ----------
        inputs
            Arrays of equal length.
        """
        firsts = range(0, max(len(inputs[0]), 1), self._batch)
        parts = [tuple(array[first : first + self._batch] for array in inputs) for first in firsts]
        if len(parts) == 1 or self._sessions == 1:
            done = [self._run(part) for part in parts]
        else:
            done = list(self._pool.map(self._run, parts))
        if len(done) == 1:
            return list(done[0])
        return [np.concatenate(outputs) for outputs in zip(*done, strict=True)]

    def _run(self, part: Arrays) -> Sequence[NDArray[np.float32]]:
        count = len(part[0])
        missing = self._batch - count if self._pad else 0
        if missing and count:
            part = tuple(np.concatenate([a, np.repeat(a[-1:], missing, 0)]) for a in part)
        elif missing:
            part = tuple(np.zeros((self._batch, *a.shape[1:]), a.dtype) for a in part)
        session = self._free.get()
        try:
            outputs = session(part)
        finally:
            self._free.put(session)
        return [output[:count] for output in outputs] if missing else outputs


class BatchedBackend:
    """The run of every engine that works a request off in batches.

    Its ``__init__`` sets the names of the graph's inputs and outputs, in their order, and the
    runner.
    """

    _inputs: Sequence[str]
    _outputs: Sequence[str]
    _run: BatchRunner

    def run(
        self, npho: NDArray[np.float32], time: NDArray[np.float32], dead: NDArray[np.bool_]
    ) -> dict[str, NDArray[np.float32]]:
        """Run events; see :class:`~xec_deploy.backends.base.Backend`."""
        given = {"npho": npho, "time": time, "dead": dead}
        values = self._run(tuple(given[name] for name in self._inputs))
        return dict(zip(self._outputs, values, strict=True))
