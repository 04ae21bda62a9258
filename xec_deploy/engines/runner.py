"""Running an engine of the bundle on this machine's GPU."""

from __future__ import annotations

import weakref
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from xec_deploy.backends.base import RunOptions
from xec_deploy.backends.batches import Arrays, BatchedBackend, BatchRunner
from xec_deploy.bundle.onnx_file import canonical_hash, load_onnx
from xec_deploy.engines.cuda import Buffer, Cuda
from xec_deploy.engines.find import FoundEngine, find_engine
from xec_deploy.engines.memory import OutOfDeviceMemory, shrink_until_it_fits
from xec_deploy.engines.store import FOLDER
from xec_deploy.engines.verify import Surroundings, host_architecture
from xec_deploy.errors import BundleError, MissingExtra
from xec_deploy.tensorrt import Flavour, installed_flavours
from xec_deploy.tensorrt.device import gpu_capability

__all__ = ["SLOTS", "TensorRtBackend", "open_engine_here"]

SLOTS: Final = 3
"""Batches in flight: one is copied in, one computed, one copied out."""


def open_engine_here(graph: Path, options: RunOptions) -> tuple[Flavour, FoundEngine]:
    """Return the engine of a bundle's graph that fits, and the library to run it with.

    Raises
    ------
    MissingExtra
        If no flavour of TensorRT is installed.
    BundleError
        If no engine fits, with what is wrong with the nearest.
    """
    flavours = installed_flavours()
    if not flavours:
        raise MissingExtra("tensorrt", "gpu", needed_for="backend tensorrt")
    graph_sha256 = canonical_hash(load_onnx(graph))
    problems = []
    for flavour in flavours:
        here = Surroundings(flavour.name, flavour.version, gpu_capability(), host_architecture())
        try:
            found = find_engine(
                graph.parent / FOLDER,
                graph_sha256,
                here,
                precision=options.precision,
                batch=options.batch,
            )
        except BundleError as error:
            problems.append(error)
            continue
        return flavour, found
    raise problems[0]


class TensorRtBackend(BatchedBackend):
    """Runs the engine that was built for a graph; see ``docs/engines.md``.

    Batches are worked off by some slots, each with a stream, an execution context and pinned
    memory of its own, so that copies of one run beside the computation of another.  A shorter
    batch is filled up.

    Raises
    ------
    MissingExtra
        If TensorRT or PyCUDA is not installed.
    BundleError
        If there is no engine that fits, or TensorRT refuses it.
    UsageError
        If the GPU has no memory for the smallest batch.
    """

    name = "tensorrt"
    device = "cuda"

    def __init__(self, graph: Path, options: RunOptions | None = None) -> None:
        options = options or RunOptions(device="cuda")
        self._flavour, self._found = open_engine_here(graph, options)
        self._cuda = Cuda()
        # In this order: TensorRT's objects must go before the context they live in.
        held: list[Any] = []
        self._close = weakref.finalize(self, _release, held, self._cuda)
        smallest, usual, _ = self._found.manifest.options.batch
        wanted = options.batch or usual
        count = options.sessions or SLOTS
        with self._cuda.current():
            engine = _load(self._flavour, self._found, held)
            self._inputs, self._outputs = _tensor_names(self._flavour, engine)
            runtime_cache = _RuntimeCache(self._flavour, engine, self._found.path)

            def make(batch: int) -> list[_Slot]:
                return [
                    _Slot(self._cuda, self._flavour, engine, runtime_cache, batch)
                    for _ in range(count)
                ]

            slots, batch = shrink_until_it_fits(make, wanted, smallest, where=str(self._found.path))
            held.extend([runtime_cache, *slots])
        self.options = RunOptions("cuda", batch, count, 1, options.precision)
        self._run = BatchRunner([slot.run for slot in slots], batch, pad=True)
        self._cache: _RuntimeCache | None = runtime_cache

    def run(
        self, npho: NDArray[np.float32], time: NDArray[np.float32], dead: NDArray[np.bool_]
    ) -> dict[str, NDArray[np.float32]]:
        """Run events; see :class:`~xec_deploy.backends.base.Backend`."""
        outputs = super().run(npho, time, dead)
        if self._cache is not None:
            # The first batch has compiled the kernels, which need not be the next time.
            self._cache.save()
            self._cache = None
        return outputs

    def describe(self) -> dict[str, Any]:
        """Return settings for the provenance."""
        manifest = self._found.manifest
        return {
            "name": self.name,
            "version": f"{manifest.flavour} {manifest.version}",
            "device": self.device,
            "gpu": manifest.target,
            "engine": self._found.path.name,
            "engine_sha256": manifest.sha256,
            "batch": self.options.batch,
            "sessions": self.options.sessions,
        }

    def close(self) -> None:
        """Free the GPU; nothing can be run afterwards."""
        self._close()


class _Slot:
    """One batch in flight."""

    def __init__(
        self, cuda: Cuda, flavour: Flavour, engine: Any, cache: _RuntimeCache, batch: int
    ) -> None:
        self._cuda, self._stream = cuda, cuda.stream()
        self._context = cache.context()
        if self._context is None:
            raise OutOfDeviceMemory("no execution context")
        inputs, outputs = _tensor_names(flavour, engine)
        for name in inputs:
            self._context.set_input_shape(name, (batch, *tuple(engine.get_tensor_shape(name))[1:]))
        self._buffers = {name: self._buffer(flavour, engine, name) for name in inputs + outputs}
        for name, buffer in self._buffers.items():
            self._context.set_tensor_address(name, buffer.address)
        self._inputs = [self._buffers[name] for name in inputs]
        self._outputs = [self._buffers[name] for name in outputs]

    def run(self, part: Arrays) -> list[NDArray[np.float32]]:
        """Run a full batch; called by any thread, one at a time."""
        with self._cuda.current():
            for buffer, array in zip(self._inputs, part, strict=True):
                np.copyto(buffer.host, array)
                self._cuda.upload(buffer, self._stream)
            if not self._context.execute_async_v3(self._stream.handle):
                raise RuntimeError("TensorRT could not run the engine")
            for buffer in self._outputs:
                self._cuda.download(buffer, self._stream)
            self._stream.synchronize()
            return [buffer.host.copy() for buffer in self._outputs]

    def free(self) -> None:
        """Give up what lives in the context of the GPU."""
        self._inputs, self._outputs, self._buffers = [], [], {}
        self._context = self._stream = None

    def _buffer(self, flavour: Flavour, engine: Any, name: str) -> Buffer:
        shape = tuple(self._context.get_tensor_shape(name))
        kinds = flavour.module.DataType
        dtype = np.bool_ if engine.get_tensor_dtype(name) == kinds.BOOL else np.float32
        return self._cuda.buffer(shape, dtype)


class _RuntimeCache:
    """Kernels compiled for this GPU, kept beside the engine (TensorRT for RTX alone)."""

    def __init__(self, flavour: Flavour, engine: Any, path: Path) -> None:
        self._engine = engine
        self._path = path.with_name(f"{path.name}.kernels")
        self._config = self._cache = None
        if flavour.name == "rtx":
            self._config = engine.create_runtime_config()
            self._cache = self._config.create_runtime_cache()
            if self._path.is_file():
                # Of another GPU, driver or version it is refused, and made anew.
                self._cache.deserialize(self._path.read_bytes())
            self._config.set_runtime_cache(self._cache)

    def context(self) -> Any:
        """Return a new execution context; None if there is no memory for it."""
        if self._config is None:
            return self._engine.create_execution_context()
        return self._engine.create_execution_context(self._config)

    def save(self) -> None:
        """Write what was compiled; a folder that may not be written is left alone."""
        if self._cache is None:
            return
        content = bytes(memoryview(self._cache.serialize()))
        part = self._path.with_name(f"{self._path.name}.part")
        try:
            part.write_bytes(content)
            part.replace(self._path)
        except OSError:
            part.unlink(missing_ok=True)

    def free(self) -> None:
        """Give up what lives in the context of the GPU."""
        self._config = self._cache = self._engine = None


def _load(flavour: Flavour, found: FoundEngine, held: list[Any]) -> Any:
    logger = flavour.logger()
    runtime = flavour.module.Runtime(logger)
    engine = runtime.deserialize_cuda_engine(found.path.read_bytes())
    if engine is None:
        errors = [text for level, text in logger.records if level == "ERROR"]
        reason = " ".join(errors[0].split())[:300] if errors else "it gives no reason"
        raise BundleError(
            f"{flavour.title} refuses the engine: {reason}",
            where=str(found.path),
            fix="Build it again on this machine with xec-deploy build-engine --force.",
        )
    held.extend([logger, runtime, engine])
    return engine


def _tensor_names(flavour: Flavour, engine: Any) -> tuple[list[str], list[str]]:
    names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
    is_input = flavour.module.TensorIOMode.INPUT
    inputs = [name for name in names if engine.get_tensor_mode(name) == is_input]
    return inputs, [name for name in names if name not in inputs]


def _release(held: list[Any], cuda: Cuda) -> None:
    """Free TensorRT's objects, the last made first, then the context."""
    with cuda.current():
        for part in reversed(held):
            if isinstance(part, _Slot | _RuntimeCache):
                part.free()
        while held:
            held.pop()
    cuda.release()
