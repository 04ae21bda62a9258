"""Choosing an engine by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from xec_deploy.backends.base import Backend, RunOptions
from xec_deploy.errors import UsageError, nearest

__all__ = ["AUTO", "BACKENDS", "create_backend"]

AUTO: Final = "auto"


def _onnxruntime(graph: Path, options: RunOptions) -> Backend:
    # Late: importing an engine costs more than the rest of the command line together.
    from xec_deploy.backends.onnxruntime_cpu import OnnxRuntimeBackend  # noqa: PLC0415

    return OnnxRuntimeBackend(graph, options)


BACKENDS: Final[dict[str, Callable[[Path, RunOptions], Backend]]] = {"onnxruntime": _onnxruntime}
"""Engines by name, fastest first; ``auto`` takes the first."""
DEVICES: Final = ("cpu",)


def create_backend(name: str, graph: Path, options: RunOptions | None = None) -> Backend:
    """Load a graph in the engine called ``name``.

    Raises
    ------
    UsageError
        If there is no such engine or device.
    """
    options = options or RunOptions()
    if options.device not in DEVICES:
        raise UsageError(
            f"device {options.device!r} is not supported", fix=nearest(options.device, DEVICES)
        )
    chosen = next(iter(BACKENDS)) if name == AUTO else name
    if chosen not in BACKENDS:
        raise UsageError(f"unknown backend {name!r}", fix=nearest(name, [AUTO, *BACKENDS]))
    return BACKENDS[chosen](graph, options)
