"""What can be compared: every engine of the package, and C++."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import metadata
from os import PathLike

from xec_deploy.backends import BACKENDS, RunOptions, create_backend, present_backends
from xec_deploy.backends.registry import get_engine
from xec_deploy.bundle import Bundle
from xec_deploy.cpp import Model
from xec_deploy.errors import MissingExtra, UsageError, nearest
from xec_deploy.parity.reference import Run

__all__ = ["ENGINES", "Subject", "default_engines", "open_subject"]

CPP = "cpp"
TORCH = "torch"
ENGINES: tuple[str, ...] = (*BACKENDS, CPP)
"""Names of what can be compared."""
WITHOUT_KERNELS = frozenset({("onnxruntime", "bf16"), (CPP, "bf16")})
"""Graphs that an engine cannot run at all."""


@dataclass(frozen=True)
class Subject:
    """An engine with one graph loaded."""

    engine: str
    version: str
    device: str
    precision: str
    run: Run


def default_engines(checkpoint: str | PathLike[str] | None) -> tuple[str, ...]:
    """Return the engines compared where none are named: those installed, torch with a checkpoint.

    On graphs torch is as slow as independent.
    """
    present = [name for name in present_backends() if name != TORCH or checkpoint is not None]
    return (*present, CPP)


def open_subject(
    engine: str, bundle: Bundle, precision: str, checkpoint: str | PathLike[str] | None
) -> Subject | None:
    """Load a graph in an engine, without the golden events deciding: they are what is measured.

    Returns
    -------
    subject
        None where the engine has nothing to do with the precision: torch runs the checkpoint, if
        one is given, and onnxruntime has no kernels of bfloat16 on a CPU.

    Raises
    ------
    UsageError
        If there is no such engine.
    MissingExtra
        If it is not installed.
    """
    if (engine, precision) in WITHOUT_KERNELS:
        return None
    if engine == CPP:
        return _cpp(bundle, precision)
    if engine == TORCH and checkpoint is not None:
        return _torch(bundle, precision, checkpoint)
    if engine not in BACKENDS:
        raise UsageError(f"no engine {engine!r} to compare", fix=nearest(engine, ENGINES))
    options = RunOptions(get_engine(engine).devices[0], precision=precision)
    backend = create_backend(engine, bundle.graph(precision), options)
    version = str(backend.describe()["version"])
    return Subject(engine, version, backend.device, precision, backend.run)


def _cpp(bundle: Bundle, precision: str) -> Subject:
    # The graph alone: opening the folder would refuse a bundle that is to be measured.
    model = Model(bundle.graph(precision))
    version = model.runtime.partition(" (")[0]
    return Subject(CPP, version, "cpu", precision, model.run)


def _torch(bundle: Bundle, precision: str, checkpoint: str | PathLike[str]) -> Subject | None:
    try:
        from xec_deploy.parity.checkpoint import checkpoint_run  # noqa: PLC0415 - torch is heavy
    except ImportError as error:
        raise MissingExtra("torch", "train", needed_for="torch") from error
    if precision != "fp32":
        return None
    run = checkpoint_run(bundle, checkpoint)
    return Subject(TORCH, metadata.version("torch"), "cpu", precision, run)
