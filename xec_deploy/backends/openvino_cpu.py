"""OpenVINO on the CPU, in float32 or bfloat16."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
import openvino
from numpy.typing import NDArray

from xec_deploy.backends.base import DEFAULT_BATCH, RunOptions
from xec_deploy.backends.batches import Arrays, BatchedBackend, BatchRunner, Session
from xec_deploy.backends.cores import granted_cores
from xec_deploy.backends.openvino_graph import (
    keep_reductions_apart,
    openvino_core,
    read_graph,
    stated_rest,
)
from xec_deploy.backends.openvino_split import split_results
from xec_deploy.errors import BundleError

__all__ = ["OpenVinoBackend"]

PRECISION_HINTS: Final = {"bf16": "bf16"}
"""What OpenVINO may compute in where the graph does not say; else float32."""


class OpenVinoBackend(BatchedBackend):
    """Runs a raw-in graph with OpenVINO's CPU plugin.

    The graph is compiled for batches of one size, which is faster than a variable one by up to
    half: a shorter batch is filled up.  An event's results depend on the size of the batch, but
    not on how many events are asked for.  In bfloat16 the last layers stay in float32.

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
        self.options = replace(
            options, device="cpu", batch=batch, sessions=sessions, threads=threads
        )
        core = openvino_core()
        model, self._outputs = read_graph(core, graph, batch)
        # A graph that says itself what is in bfloat16 has been judged so, not rounded everywhere.
        asked = (
            stated_rest(model) if options.precision not in PRECISION_HINTS else options.precision
        )
        hint = "f32" if _has_bfloat16(model) else PRECISION_HINTS.get(asked, "f32")
        config = {
            "PERFORMANCE_HINT": "THROUGHPUT" if sessions > 1 else "LATENCY",
            "NUM_STREAMS": sessions,
            "INFERENCE_NUM_THREADS": sessions * threads,
            # Jobs that share a node would all be pinned to its first cores.
            "ENABLE_CPU_PINNING": False,
            "PERF_COUNT": profile,
        }
        # In bfloat16 results would be written in eight bits: they are made apart.
        parts = (hint != "f32" and split_results(model)) or (model,)
        hints = [hint, "f32"][: len(parts)]
        try:
            compiled = []
            for part, precision in zip(parts, hints, strict=True):
                keep_reductions_apart(part)
                part_config = config | {"INFERENCE_PRECISION_HINT": precision}
                compiled.append(core.compile_model(part, "CPU", part_config))
        except RuntimeError as error:
            raise BundleError(
                f"openvino cannot load the graph ({' '.join(str(error).split())[:300]})",
                where=str(graph),
            ) from error
        self._inputs = [port.any_name for port in compiled[0].inputs]
        self._requests = [_requests(compiled) for _ in range(sessions)]
        self._run = BatchRunner(
            [_session(chain, len(self._outputs)) for chain in self._requests], batch, pad=True
        )
        self._hint = str(compiled[0].get_property("INFERENCE_PRECISION_HINT").get_type_name())

    def profile(self) -> list[Any]:
        """Return what OpenVINO measured of each node in the first session's last batch."""
        return [node for request in self._requests[0] for node in request.get_profiling_info()]

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


def _requests(compiled: list[Any]) -> list[Any]:
    """Return a request to each part of a graph, each reading what the one before writes."""
    requests = [part.create_infer_request() for part in compiled]
    for before, after in pairwise(requests):
        after.set_input_tensor(0, before.get_output_tensor(0))
    return requests


def _session(chain: list[Any], outputs: int) -> Session:
    first, *others = chain
    last = chain[-1]

    def run(part: Arrays) -> list[NDArray[np.float32]]:
        # Without copies in; results are copied, as the request writes the next ones over them.
        first.infer(list(part), share_inputs=True, share_outputs=True)
        for request in others:
            request.infer(share_inputs=True, share_outputs=True)
        return [last.get_output_tensor(index).data.copy() for index in range(outputs)]

    return run
