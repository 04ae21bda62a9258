"""What can be compared: every engine of the package, and C++."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import metadata
from os import PathLike
from pathlib import Path
from typing import Any, Final

from xec_deploy.backends import (
    BACKENDS,
    DEFAULT_BATCH,
    RunOptions,
    create_backend,
    present_backends,
)
from xec_deploy.bundle import Bundle
from xec_deploy.bundle.engine import find_graph
from xec_deploy.bundle.onnx_file import canonical_hash, load_onnx
from xec_deploy.cpp import Model
from xec_deploy.errors import MissingExtra, UsageError
from xec_deploy.parity.reference import Run

__all__ = ["CPP", "ENGINES", "TORCH", "Subject", "Wanted", "default_engines", "open_subject"]

CPP: Final = "cpp"
TORCH: Final = "torch"
ENGINES: tuple[str, ...] = (*BACKENDS, CPP)
"""Names of what can be compared."""
WITHOUT_KERNELS: Final = frozenset({("onnxruntime", "cpu"), (CPP, "cpu")})
"""Where graphs of bfloat16 cannot run at all."""


@dataclass(frozen=True)
class Wanted:
    """A row of the comparison."""

    engine: str
    device: str
    precision: str

    def __str__(self) -> str:
        return f"{self.engine} on {self.device} in {self.precision}"


@dataclass(frozen=True)
class Subject:
    """An engine with one graph loaded.

    Attributes
    ----------
    engine, version, device, precision
        What it is.
    graph
        The ONNX file; None for a checkpoint.
    settings
        How it describes itself.
    run
        Runs raw events.
    """

    engine: str
    version: str
    device: str
    precision: str
    graph: Path | None
    settings: dict[str, Any]
    run: Run

    def graph_hash(self) -> str | None:
        """Return the canonical hash of the graph, by which it is known wherever it lies."""
        return None if self.graph is None else canonical_hash(load_onnx(self.graph))


def default_engines(checkpoint: str | PathLike[str] | None) -> tuple[str, ...]:
    """Return the engines compared where none are named: those installed, torch with a checkpoint.

    On graphs torch is as slow as independent.
    """
    present = [name for name in present_backends() if name != TORCH or checkpoint is not None]
    return (*present, CPP)


def open_subject(
    wanted: Wanted,
    bundle: Bundle,
    checkpoint: str | PathLike[str] | None = None,
    *,
    batch: int | None = None,
) -> Subject:
    """Load a graph in an engine, without the golden events deciding: they are what is measured.

    Parameters
    ----------
    wanted
        Engine, device and precision.
    bundle
        Has the graph.
    checkpoint
        What torch runs instead of the graph, if given.
    batch
        Events at once, for engines that are prepared for a number of them; None for theirs.

    Raises
    ------
    UsageError
        If the engine has nothing to do with the precision, or the device is not there.
    MissingExtra
        If it is not installed.
    BundleError
        If it cannot load the graph.
    """
    engine, device, precision = wanted.engine, wanted.device, wanted.precision
    if precision.startswith("bf16") and (engine, device) in WITHOUT_KERNELS:
        raise UsageError("ONNX Runtime has no kernels of bfloat16 on a CPU")
    if engine == CPP:
        return _cpp(bundle, precision, batch)
    if engine == TORCH and checkpoint is not None:
        return _torch(bundle, wanted, checkpoint)
    graph = find_graph(bundle, engine, precision, device, None)
    options = RunOptions(device, batch=batch, precision=precision)
    backend = create_backend(engine, graph, options)
    settings = backend.describe()
    version = str(settings["version"])
    return Subject(engine, version, backend.device, precision, graph, settings, backend.run)


def _cpp(bundle: Bundle, precision: str, batch: int | None) -> Subject:
    # The graph alone: opening the folder would refuse a bundle that is to be measured.
    graph = bundle.graph(precision)
    model = Model(graph, batch=batch or DEFAULT_BATCH)
    version = model.runtime.partition(" (")[0]
    settings = {"name": CPP, "version": version, "device": "cpu", "threads": 1}
    return Subject(CPP, version, "cpu", precision, graph, settings, model.run)


def _torch(bundle: Bundle, wanted: Wanted, checkpoint: str | PathLike[str]) -> Subject:
    try:
        from xec_deploy.parity.checkpoint import checkpoint_run  # noqa: PLC0415 - torch is heavy
    except ImportError as error:
        raise MissingExtra("torch", "train", needed_for="torch") from error
    if (wanted.precision, wanted.device) != ("fp32", "cpu"):
        raise UsageError("the checkpoint is run in fp32 on the CPU")
    run = checkpoint_run(bundle, checkpoint)
    version = metadata.version("torch")
    settings = {"name": TORCH, "version": version, "device": "cpu", "runs": Path(checkpoint).name}
    return Subject(TORCH, version, "cpu", "fp32", None, settings, run)
