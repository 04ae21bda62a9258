"""OpenVINO on the CPU, in float32 or bfloat16."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
import openvino
from numpy.typing import NDArray

from xec_deploy.backends.base import DEFAULT_BATCH, RunOptions
from xec_deploy.backends.batches import Arrays, BatchedBackend, BatchRunner, Session
from xec_deploy.backends.cores import granted_cores
from xec_deploy.backends.openvino_graph import openvino_core, read_graph
from xec_deploy.errors import BundleError

__all__ = ["OpenVinoBackend"]

PRECISION_HINTS: Final = {"bf16": "bf16"}
"""What OpenVINO may compute in where the graph does not say; else float32."""


class OpenVinoBackend(BatchedBackend):
    """Runs a raw-in graph with OpenVINO's CPU plugin.

    The graph is compiled for batches of one size, which is faster than a variable one by up to
    half: a shorter batch is filled up.  An event's results depend on the size of the batch, but
    not on how many events are asked for.

    Raises
    ------
    BundleError
        If OpenVINO cannot load the graph.
    """

    name = "openvino"
    device = "cpu"

    def __init__(
        self, graph: Path, options: RunOptions | None = None, *, profile: bool = False
    ) -> None:
        options = options or RunOptions()
        sessions = options.sessions or 1
        threads = options.threads or max(1, granted_cores() // sessions)
        batch = options.batch or DEFAULT_BATCH
        self.options = RunOptions("cpu", batch, sessions, threads, options.precision)
        core = openvino_core()
        model, self._outputs = read_graph(core, graph, batch)
        # A graph that says itself what is in bfloat16 has been judged so, not rounded everywhere.
        hint = "f32" if _has_bfloat16(model) else PRECISION_HINTS.get(options.precision, "f32")
        config = {
            "PERFORMANCE_HINT": "THROUGHPUT" if sessions > 1 else "LATENCY",
            "NUM_STREAMS": sessions,
            "INFERENCE_NUM_THREADS": sessions * threads,
            "INFERENCE_PRECISION_HINT": hint,
            # Jobs that share a node would all be pinned to its first cores.
            "ENABLE_CPU_PINNING": False,
            "PERF_COUNT": profile,
        }
        try:
            self.compiled = core.compile_model(model, "CPU", config)
        except RuntimeError as error:
            raise BundleError(
                f"openvino cannot load the graph ({' '.join(str(error).split())[:300]})",
                where=str(graph),
            ) from error
        self._inputs = [port.any_name for port in self.compiled.inputs]
        self.requests = [self.compiled.create_infer_request() for _ in range(sessions)]
        self._run = BatchRunner(
            [_session(item, len(self._outputs)) for item in self.requests], batch, pad=True
        )
        self._hint = str(self.compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name())

    def describe(self) -> dict[str, Any]:
        """Return settings for the provenance."""
        return {
            "name": self.name,
            "version": openvino.__version__.partition("-")[0],
            "device": self.device,
            "batch": self.options.batch,
            "sessions": self.options.sessions,
            "threads": self.options.threads,
            "arithmetic": self._hint,
        }


def _has_bfloat16(model: Any) -> bool:
    return any(
        port.get_element_type() == openvino.Type.bf16
        for node in model.get_ops()
        for port in node.outputs()
    )


def _session(request: Any, outputs: int) -> Session:
    def run(part: Arrays) -> list[NDArray[np.float32]]:
        # Without copies in; results are copied, as the request writes the next ones over them.
        request.infer(list(part), share_inputs=True, share_outputs=True)
        return [request.get_output_tensor(index).data.copy() for index in range(outputs)]

    return run
