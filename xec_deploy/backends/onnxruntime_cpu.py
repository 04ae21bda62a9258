"""ONNX Runtime on the CPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from xec_deploy.backends.base import DEFAULT_BATCH, RunOptions
from xec_deploy.backends.batches import Arrays, BatchedBackend, BatchRunner, Session
from xec_deploy.backends.cores import granted_cores
from xec_deploy.errors import BundleError

__all__ = ["OnnxRuntimeBackend", "load_session", "session_options"]


class OnnxRuntimeBackend(BatchedBackend):
    """Runs a raw-in graph with ONNX Runtime's CPU provider.

    Raises
    ------
    BundleError
        If ONNX Runtime cannot load the graph.
    """

    name = "onnxruntime"
    device = "cpu"

    def __init__(self, graph: Path, options: RunOptions | None = None) -> None:
        options = options or RunOptions()
        sessions = options.sessions or 1
        threads = options.threads or max(1, granted_cores() // sessions)
        batch = options.batch or DEFAULT_BATCH
        self.options = RunOptions("cpu", batch, sessions, threads, options.precision)
        # Without threads of its own a session runs on the caller's, on several at a time, so that
        # the weights are in memory once.
        loaded = [
            load_session(graph, session_options(threads, options.precision), "CPUExecutionProvider")
            for _ in range(1 if threads == 1 else sessions)
        ]
        loaded *= sessions // len(loaded)
        self._inputs = [value.name for value in loaded[0].get_inputs()]
        self._outputs = [value.name for value in loaded[0].get_outputs()]
        self._run = BatchRunner([self._session(item) for item in loaded], batch)

    def describe(self) -> dict[str, Any]:
        """Return settings for the provenance."""
        return {
            "name": self.name,
            "version": onnxruntime.__version__,
            "device": self.device,
            "provider": "CPUExecutionProvider",
            "batch": self.options.batch,
            "sessions": self.options.sessions,
            "threads": self.options.threads,
        }

    def _session(self, session: Any) -> Session:
        def run(part: Arrays) -> list[NDArray[np.float32]]:
            found: list[NDArray[np.float32]] = session.run(
                self._outputs, dict(zip(self._inputs, part, strict=True))
            )
            return found

        return run


def session_options(threads: int, precision: str) -> Any:
    """Return ONNX Runtime's options for a number of threads and the precision of a graph."""
    options = onnxruntime.SessionOptions()
    # Explicit, because the default counts the cores of the host and not those granted to a
    # container or a cluster job.
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    if precision.startswith("fp16"):
        # The last level inserts casts that crash on some float16 graphs.
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    return options


def load_session(graph: Path, options: Any, provider: Any) -> Any:
    """Load a graph with an execution provider.

    Raises
    ------
    BundleError
        If ONNX Runtime refuses it.
    """
    try:
        return onnxruntime.InferenceSession(graph, sess_options=options, providers=[provider])
    except Exception as error:
        # onnxruntime raises a dozen unrelated classes here, among them bare Exception.
        raise BundleError(
            f"onnxruntime cannot load the graph ({' '.join(str(error).split())[:300]})",
            where=str(graph),
        ) from error
