"""Choosing an engine by name."""

from __future__ import annotations

import importlib
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Final, cast

from xec_deploy.backends.base import Backend, RunOptions
from xec_deploy.backends.devices import DEVICES, parse_device
from xec_deploy.errors import MissingExtra, UsageError, nearest

__all__ = [
    "AUTO",
    "BACKENDS",
    "DEVICES",
    "Engine",
    "create_backend",
    "get_engine",
    "present_backends",
]

AUTO: Final = "auto"


@dataclass(frozen=True)
class Engine:
    """What is known of an engine without importing it.

    Attributes
    ----------
    libraries
        Modules, any of which will do, by the name of their distribution.
    extra
        Extra of this package that brings it; None if it always comes along.
    classes
        Device -> ``module:class`` of the backend.
    arithmetic
        Precisions it computes in by itself on a CPU, from the fp32 graph.
    cuda_arithmetic
        Those on a GPU.
    candidate_on
        Devices on which ``auto`` considers it.
    needs
        Modules it needs besides.
    """

    libraries: dict[str, str]
    extra: str | None
    classes: dict[str, str]
    arithmetic: tuple[str, ...] = ()
    cuda_arithmetic: tuple[str, ...] = ()
    candidate_on: tuple[str, ...] = DEVICES
    needs: tuple[str, ...] = ()

    @property
    def present(self) -> bool:
        """Whether all it needs is installed."""
        return self.missing is None

    @property
    def missing(self) -> str | None:
        """What is not installed; None if nothing is missing."""
        if self.version is None:
            return next(iter(self.libraries))
        return next((name for name in self.needs if find_spec(name) is None), None)

    @property
    def version(self) -> str | None:
        """Version of the library that is installed."""
        for distribution, module in self.libraries.items():
            if find_spec(module) is not None:
                with suppress(metadata.PackageNotFoundError):
                    return metadata.version(distribution)
        return None

    def computes_in(self, device: str) -> tuple[str, ...]:
        """Return the precisions it makes of the fp32 graph on a device."""
        return self.arithmetic if parse_device(device).kind == "cpu" else self.cuda_arithmetic

    @property
    def devices(self) -> tuple[str, ...]:
        """Where it runs."""
        return tuple(self.classes)


BACKENDS: Final[dict[str, Engine]] = {
    "onnxruntime": Engine(
        {"onnxruntime": "onnxruntime", "onnxruntime-gpu": "onnxruntime"},
        None,
        {
            "cpu": "xec_deploy.backends.onnxruntime_cpu:OnnxRuntimeBackend",
            "cuda": "xec_deploy.backends.onnxruntime_cuda:OnnxRuntimeCudaBackend",
        },
        cuda_arithmetic=("tf32",),
    ),
    "openvino": Engine(
        {"openvino": "openvino"},
        "openvino",
        {"cpu": "xec_deploy.backends.openvino_cpu:OpenVinoBackend"},
        arithmetic=("bf16",),
    ),
    "tensorrt": Engine(
        {"tensorrt": "tensorrt", "tensorrt-rtx": "tensorrt_rtx"},
        "gpu",
        {"cuda": "xec_deploy.engines.runner:TensorRtBackend"},
        needs=("pycuda",),
    ),
    "torch": Engine(
        {"torch": "torch"},
        "train",
        {
            "cpu": "xec_deploy.backends.torch_backend:TorchBackend",
            "cuda": "xec_deploy.backends.torch_backend:TorchBackend",
        },
        cuda_arithmetic=("bf16", "fp16", "tf32"),
        # On a CPU it is slow beyond use.
        candidate_on=("cuda",),
    ),
}
"""Engines by name."""


def present_backends(device: str = "cpu") -> tuple[str, ...]:
    """Return the engines that are installed and know a device."""
    kind = parse_device(device).kind
    return tuple(
        name for name, engine in BACKENDS.items() if kind in engine.classes and engine.present
    )


def get_engine(name: str) -> Engine:
    """Return what is known of an engine.

    Raises
    ------
    UsageError
        If there is no such engine.
    """
    if name not in BACKENDS:
        raise UsageError(f"unknown backend {name!r}", fix=nearest(name, [AUTO, *BACKENDS]))
    return BACKENDS[name]


def create_backend(name: str, graph: Path, options: RunOptions | None = None) -> Backend:
    """Load a graph in the engine called ``name``.

    Raises
    ------
    UsageError
        If there is no such engine or device.
    MissingExtra
        If the engine is not installed.
    BundleError
        If it cannot load the graph.
    """
    options = options or RunOptions()
    engine = get_engine(name)
    kind = parse_device(options.device).kind
    if kind not in engine.classes:
        raise UsageError(f"{name} does not run on {kind!r}", fix=nearest(kind, engine.classes))
    if engine.missing is not None:
        raise MissingExtra(engine.missing, engine.extra or name, needed_for=f"backend {name}")
    # Late: importing an engine costs more than the rest of the command line together.
    module, _, attribute = engine.classes[kind].partition(":")
    return cast("Backend", getattr(importlib.import_module(module), attribute)(graph, options))
