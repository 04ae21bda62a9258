"""An engine in the library's hands: deserialised, its inputs and outputs named and typed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xec_deploy.engines.find import FoundEngine
from xec_deploy.errors import BundleError
from xec_deploy.tensorrt import Flavour

__all__ = ["LoadedEngine", "Port", "last_error", "load_engine"]


@dataclass(frozen=True)
class Port:
    """An input or output: name, sizes but the batch, type."""

    name: str
    sizes: tuple[int, ...]
    dtype: type[np.generic]

    def example(self, batch: int, seed: int) -> NDArray[Any]:
        """Return an array for a batch, of flags that are off or numbers from 0 to 1."""
        shape = (batch, *self.sizes)
        if self.dtype is np.bool_:
            return np.zeros(shape, np.bool_)
        return np.random.default_rng(seed).random(shape, np.float32).astype(self.dtype)


@dataclass
class LoadedEngine:
    """What lives as long as the engine; freed from the last to the first by `free`.

    Attributes
    ----------
    trt
        The library.
    logger, runtime, engine
        Its objects.
    inputs, outputs
        In the engine's order.
    where
        The engine's file, for messages.
    """

    trt: Any
    logger: Any
    runtime: Any
    engine: Any
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    where: str = field(default="")

    def free(self) -> None:
        """Give the library's objects up in the order it asks for."""
        self.engine = None
        self.runtime = None
        self.logger = None


def load_engine(flavour: Flavour, found: FoundEngine) -> LoadedEngine:
    """Deserialise an engine on the GPU that is current.

    Raises
    ------
    BundleError
        If the library refuses it, with its own reason, or it has inputs of an unknown type.
    """
    trt = flavour.module
    logger = flavour.logger()
    runtime = trt.Runtime(logger)
    engine = runtime.deserialize_cuda_engine(found.path.read_bytes())
    where = str(found.path)
    if engine is None:
        # The error's traceback would keep it beyond its GPU's context.
        del runtime
        raise BundleError(
            f"{flavour.title} refuses the engine: {last_error(logger, 'it gives no reason')}",
            where=where,
            fix="Build it again on this machine with xec-deploy build-engine --force.",
        )
    names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
    inputs = [n for n in names if engine.get_tensor_mode(n) == trt.TensorIOMode.INPUT]
    ports = {name: _port(trt, engine, name, where) for name in names}
    return LoadedEngine(
        trt,
        logger,
        runtime,
        engine,
        tuple(ports[name] for name in inputs),
        tuple(ports[name] for name in names if name not in inputs),
        where,
    )


def last_error(logger: Any, otherwise: str) -> str:
    """Return the first error the library has logged since the last call, in one line."""
    errors = [text for level, text in logger.records if level in {"ERROR", "INTERNAL_ERROR"}]
    logger.records.clear()
    return " ".join(errors[0].split())[:300] if errors else otherwise


def _port(trt: Any, engine: Any, name: str, where: str) -> Port:
    known = {
        trt.DataType.FLOAT: np.float32,
        trt.DataType.HALF: np.float16,
        trt.DataType.BOOL: np.bool_,
    }
    dtype = known.get(engine.get_tensor_dtype(name))
    if dtype is None:
        raise BundleError(
            f"the engine's tensor {name!r} is of type {engine.get_tensor_dtype(name)}",
            where=where,
            fix="Build one from a bundle's graph with xec-deploy build-engine.",
        )
    return Port(name, tuple(engine.get_tensor_shape(name))[1:], dtype)
