"""ONNX Runtime on the CPU."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from xec_deploy.backends.base import RunOptions
from xec_deploy.errors import BundleError

__all__ = ["OnnxRuntimeBackend"]


class OnnxRuntimeBackend:
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
        session_options = onnxruntime.SessionOptions()
        # Explicit, because the default counts the cores of the host and not those granted to a
        # container or a cluster job.
        self.threads = options.threads or len(os.sched_getaffinity(0))
        session_options.intra_op_num_threads = self.threads
        session_options.inter_op_num_threads = 1
        session_options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(
                graph, sess_options=session_options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:
            # onnxruntime raises a dozen unrelated classes here, among them bare Exception.
            raise BundleError(
                f"onnxruntime cannot load the graph ({' '.join(str(error).split())[:300]})",
                where=str(graph),
            ) from error
        self._outputs = [output.name for output in self._session.get_outputs()]

    def run(
        self, npho: NDArray[np.float32], time: NDArray[np.float32], dead: NDArray[np.bool_]
    ) -> dict[str, NDArray[np.float32]]:
        """Run one batch; see :class:`~xec_deploy.backends.base.Backend`."""
        values = self._session.run(self._outputs, {"npho": npho, "time": time, "dead": dead})
        return dict(zip(self._outputs, values, strict=True))

    def describe(self) -> dict[str, Any]:
        """Return settings for the provenance."""
        return {
            "name": self.name,
            "version": onnxruntime.__version__,
            "device": self.device,
            "threads": self.threads,
            "provider": "CPUExecutionProvider",
        }
