"""Running graphs that are in memory with the engine they are made for."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray

from calibration.observe import open_session
from xec_deploy.backends import RunOptions, create_backend
from xec_deploy.bundle.onnx_file import state_rest

__all__ = ["Opener", "Run", "onnxruntime_opener", "openvino_opener"]

BATCH: Final = 16

Run = Callable[
    [NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]], dict[str, NDArray[np.float32]]
]
"""From npho, time and dead of some events to all outputs of a graph."""
Opener = Callable[[onnx.ModelProto], Run]
"""Loads a graph."""


def onnxruntime_opener(threads: int = 1) -> Opener:
    """Return an opener with ONNX Runtime on a CPU."""

    def open_graph(model: onnx.ModelProto) -> Run:
        session = open_session(model, threads=threads)
        names = [value.name for value in model.graph.output]

        def run(
            npho: NDArray[np.float32], time: NDArray[np.float32], dead: NDArray[np.bool_]
        ) -> dict[str, NDArray[np.float32]]:
            parts = [
                session.run(
                    names,
                    {
                        "npho": npho[first : first + BATCH],
                        "time": time[first : first + BATCH],
                        "dead": dead[first : first + BATCH],
                    },
                )
                for first in range(0, len(npho), BATCH)
            ]
            return {name: np.concatenate([p[i] for p in parts]) for i, name in enumerate(names)}

        return run

    return open_graph


def openvino_opener(threads: int, rest: str) -> Opener:
    """Return an opener with OpenVINO, which computes in ``rest`` what a graph leaves in float32."""

    def open_graph(model: onnx.ModelProto) -> Run:
        state_rest(model, rest)
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "graph.onnx"
            file.write_bytes(model.SerializeToString())
            options = RunOptions(batch=BATCH, sessions=1, threads=threads)
            backend: Any = create_backend("openvino", file, options)
        run: Run = backend.run
        return run

    return open_graph
