"""Torch as an engine: the graph of a bundle, node by node."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from xec_deploy.backends.base import DEFAULT_BATCH, RunOptions
from xec_deploy.backends.batches import Arrays, BatchRunner
from xec_deploy.backends.cores import granted_cores
from xec_deploy.backends.torch_graph import TorchGraph
from xec_deploy.errors import UsageError

__all__ = ["TorchBackend"]

CUDA_BATCH = 256


class TorchBackend:
    """Runs a raw-in graph with torch: slow on a CPU, and independent of the other engines.

    Raises
    ------
    UsageError
        If there is no such device, or more than one session is asked for.
    BundleError
        If the graph has something that torch does not.
    """

    name = "torch"

    def __init__(self, graph: Path, options: RunOptions | None = None) -> None:
        options = options or RunOptions()
        self.device = options.device
        if self.device == "cuda" and not torch.cuda.is_available():
            raise UsageError(
                "torch found no CUDA device it can use",
                fix="Check the driver with nvidia-smi, or pass --device cpu.",
            )
        batch = options.batch or (DEFAULT_BATCH if self.device == "cpu" else CUDA_BATCH)
        sessions = options.sessions or 1
        threads = options.threads or max(1, granted_cores() // sessions)
        self.options = RunOptions(self.device, batch, sessions, threads, options.precision)
        self._graph = TorchGraph(graph, device=self.device)
        self._run = BatchRunner([self._session] * sessions, batch)

    def run(
        self, npho: NDArray[np.float32], time: NDArray[np.float32], dead: NDArray[np.bool_]
    ) -> dict[str, NDArray[np.float32]]:
        """Run events; see :class:`~xec_deploy.backends.base.Backend`."""
        given = {"npho": npho, "time": time, "dead": dead}
        before = torch.get_num_threads()
        try:
            values = self._run(tuple(given[name] for name in self._graph.inputs))
        finally:
            torch.set_num_threads(before)
        return dict(zip(self._graph.outputs, values, strict=True))

    def describe(self) -> dict[str, Any]:
        """Return settings for the provenance."""
        return {
            "name": self.name,
            "version": torch.__version__,
            "device": self.device,
            "batch": self.options.batch,
            "sessions": self.options.sessions,
            "threads": self.options.threads,
        }

    def _session(self, part: Arrays) -> list[NDArray[np.float32]]:
        # A setting of the calling thread, which is a session's own where there are several.
        torch.set_num_threads(self.options.threads or 1)
        # TF32 is not float32.
        with torch.backends.cudnn.flags(allow_tf32=False):
            found = self._graph.run(dict(zip(self._graph.inputs, part, strict=True)))
        return [found[name].astype(np.float32, copy=False) for name in self._graph.outputs]
