"""ONNX Runtime on an NVIDIA GPU."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from xec_deploy.backends.base import RunOptions
from xec_deploy.backends.batches import Arrays, BatchedBackend, BatchRunner, Session
from xec_deploy.backends.devices import parse_device
from xec_deploy.backends.memory import OutOfDeviceMemory, shrink_until_it_fits
from xec_deploy.backends.onnxruntime_cpu import load_session, session_options
from xec_deploy.backends.pinned import pinned_empty
from xec_deploy.errors import BundleError, InferenceError, MissingExtra, UsageError
from xec_deploy.tensorrt.device import gpu_capability

__all__ = ["CUDA_BATCH", "BoundSession", "OnnxRuntimeCudaBackend"]

_LOG = logging.getLogger(__name__)

PROVIDER: Final = "CUDAExecutionProvider"
CUDA_BATCH: Final = 256
"""A GPU is only busy with many events."""
_NOT_RECORDED: Final = "-1"
"""Number of a recorded graph that stands for none."""
_TYPES: Final = {"tensor(float)": np.float32, "tensor(bool)": np.bool_}


class OnnxRuntimeCudaBackend(BatchedBackend):
    """Runs a raw-in graph with ONNX Runtime's CUDA provider.

    Inputs and outputs are bound to buffers that live as long as the session: pinned memory of the
    host, and memory of the device.  A shorter batch is filled up.  One session records its work as
    a CUDA graph; several copy and compute at the same time instead, as the library records for one
    thread at a time.

    Raises
    ------
    MissingExtra
        If this ONNX Runtime was built without CUDA.
    UsageError
        If there is no device it can use, or no memory for an event.
    BundleError
        If it cannot load the graph.
    """

    name = "onnxruntime"

    def __init__(self, graph: Path, options: RunOptions | None = None) -> None:
        options = options or RunOptions(device="cuda")
        if PROVIDER not in onnxruntime.get_available_providers():
            raise MissingExtra("onnxruntime-gpu", "gpu", needed_for="onnxruntime on cuda")
        self.device = options.device
        self._index = parse_device(options.device).index
        if gpu_capability(self._index) is None:
            raise UsageError(
                f"there is no GPU number {self._index}",
                fix="Check the driver with nvidia-smi, or pass --device cpu.",
            )
        self._path, self._precision = graph, options.precision
        count = options.sessions or 1
        self._graphs = "not asked for"
        if options.cuda_graphs:
            self._graphs = "recorded" if count == 1 else "none: several sessions"
        bound, batch = shrink_until_it_fits(
            lambda size: self._bound(size, count),
            options.batch or CUDA_BATCH,
            lambda size: size // 2 or None,
            where=str(graph),
        )
        self._bound_sessions = bound
        self._pinned = all(session.pinned for session in bound)
        self._inputs, self._outputs = bound[0].inputs, bound[0].outputs
        self.options = RunOptions(
            self.device, batch, count, 1, options.precision, self._graphs == "recorded"
        )
        self._run = BatchRunner([session.run_or_fail for session in bound], batch, pad=True)

    def device_seconds(self, repeats: int) -> float:
        """Return the seconds the GPU takes for a batch, copies apart."""
        return self._bound_sessions[0].device_seconds(repeats)

    def describe(self) -> dict[str, Any]:
        """Return settings for the provenance."""
        return {
            "name": self.name,
            "version": onnxruntime.__version__,
            "device": self.device,
            "provider": PROVIDER,
            "batch": self.options.batch,
            "sessions": self.options.sessions,
            "pinned": self._pinned,
            "cuda_graphs": self._graphs,
        }

    def _bound(self, batch: int, count: int) -> list[BoundSession]:
        if self._graphs == "recorded":
            try:
                return [self._recorded(batch)]
            except OutOfDeviceMemory:
                raise
            except (BundleError, InferenceError) as error:
                self._graphs = f"none: {error.what}"
                _LOG.warning(
                    "%s: onnxruntime runs without CUDA graphs (%s)", self._path, error.what
                )
        loaded = self._load(graphs=False)
        bound = [BoundSession(loaded, batch, self._index, str(self._path)) for _ in range(count)]
        for session in bound:
            session.run(session.example(1))
        return bound

    def _recorded(self, batch: int) -> BoundSession:
        """Return a session whose replayed work gives what it gave before it was recorded."""
        session = BoundSession(
            self._load(graphs=True), batch, self._index, str(self._path), one_thread=True
        )
        one, other = session.example(1), session.example(2)
        plain = [session.run_plainly(part) for part in (one, other)]
        # The library records at the first of these, after a run that allocates.
        replayed = [session.run(part) for part in (one, other)]
        for before, after in zip(plain, replayed, strict=True):
            for left, right in zip(before, after, strict=True):
                if not np.allclose(left, right, rtol=1e-2, equal_nan=True):
                    raise InferenceError("the recorded graph gives other results")
        return session

    def _load(self, *, graphs: bool) -> Any:
        if hasattr(onnxruntime, "preload_dlls"):
            # CUDA's libraries as Python packages are not where the system's loader looks.
            with suppress(OSError):
                onnxruntime.preload_dlls()
        provider = (
            PROVIDER,
            {
                "device_id": str(self._index),
                # TF32 keeps ten bits of the mantissa: not what fp32 stands for.
                "use_tf32": "1" if self._precision == "tf32" else "0",
                "enable_cuda_graph": "1" if graphs else "0",
                # Not by measuring, which chooses other kernels, and bits, from time to time.
                "cudnn_conv_algo_search": "HEURISTIC",
            },
        )
        loaded = load_session(self._path, session_options(1, self._precision), provider)
        if loaded.get_providers()[0] != PROVIDER:
            # It falls back to the CPU without an error.
            raise UsageError(
                "onnxruntime found no CUDA device it can use",
                fix="Check the driver with nvidia-smi and that CUDA and cuDNN are of the versions "
                "onnxruntime-gpu is built for, or pass --device cpu.",
            )
        return loaded


class BoundSession:
    """A session's inputs and outputs in buffers of its own; weights are shared.

    Parameters
    ----------
    loaded
        The session.
    batch
        Events of every run.
    index
        Number of the GPU.
    where
        The graph's file, for messages.
    one_thread
        Whether all runs are made by one thread: a recorded graph belongs to the thread that has
        recorded it.
    device
        ONNX Runtime's name of the device the buffers are on.

    Raises
    ------
    OutOfDeviceMemory
        If there is no room.
    """

    def __init__(
        self,
        loaded: Any,
        batch: int,
        index: int,
        where: str,
        *,
        one_thread: bool = False,
        device: str = "cuda",
    ) -> None:
        self._loaded, self._where, self._batch = loaded, where, batch
        self._binding = loaded.io_binding()
        self._thread = ThreadPoolExecutor(1, "xec-onnxruntime") if one_thread else None
        self._device: list[Any] = []
        self._host: list[NDArray[Any]] = []
        self.pinned = True
        ports = [(value, True) for value in loaded.get_inputs()]
        ports += [(value, False) for value in loaded.get_outputs()]
        try:
            for value, is_input in ports:
                shape, kind = (batch, *value.shape[1:]), _TYPES[value.type]
                buffer = onnxruntime.OrtValue.ortvalue_from_shape_and_type(
                    list(shape), kind, device, index
                )
                if not is_input:
                    self._binding.bind_ortvalue_output(value.name, buffer)
                    continue
                self._binding.bind_ortvalue_input(value.name, buffer)
                self._device.append(buffer)
                host, pinned = pinned_empty(shape, kind, index)
                self._host.append(host)
                self.pinned = self.pinned and pinned
        except Exception as error:
            raise self._failure(error) from error

    @property
    def inputs(self) -> list[str]:
        """Names in the graph's order."""
        return [value.name for value in self._loaded.get_inputs()]

    @property
    def outputs(self) -> list[str]:
        """Names in the graph's order."""
        return [value.name for value in self._loaded.get_outputs()]

    def example(self, seed: int) -> Arrays:
        """Return a batch of numbers from 0 to 1, and of flags that are off."""
        random = np.random.default_rng(seed)
        return tuple(
            np.zeros(host.shape, host.dtype)
            if host.dtype == np.bool_
            else random.random(host.shape, np.float32)
            for host in self._host
        )

    def run(self, part: Arrays) -> Sequence[NDArray[np.float32]]:
        """Run a full batch; called by any thread, one at a time.

        Raises
        ------
        OutOfDeviceMemory
            If there is no room for intermediate results.
        InferenceError
            If the library fails otherwise.
        """
        run: Session = self._run_here
        if self._thread is not None:
            return self._thread.submit(run, part).result()
        return run(part)

    def run_plainly(self, part: Arrays) -> Sequence[NDArray[np.float32]]:
        """Run a full batch without recording or replaying anything; errors as of `run`."""
        options = onnxruntime.RunOptions()
        options.add_run_config_entry("gpu_graph_id", _NOT_RECORDED)
        run = self._run_here
        if self._thread is not None:
            return self._thread.submit(run, part, options).result()
        return run(part, options)

    def run_or_fail(self, part: Arrays) -> Sequence[NDArray[np.float32]]:
        """Run a batch of a size that ran before: no room now is a failure like others.

        Raises
        ------
        InferenceError
            If the library fails.
        """
        try:
            return self.run(part)
        except OutOfDeviceMemory as error:
            raise InferenceError(
                f"onnxruntime failed on a batch of {self._batch} ({error})",
                where=self._where,
                fix="Pass a smaller --batch, or free the GPU.",
            ) from error

    def device_seconds(self, repeats: int) -> float:
        """Return the seconds the device takes for a batch that is there already."""

        def repeat() -> float:
            self._loaded.run_with_iobinding(self._binding)
            start = time.perf_counter()
            for _ in range(repeats):
                # Returns when the device is done.
                self._loaded.run_with_iobinding(self._binding)
            return (time.perf_counter() - start) / repeats

        return repeat() if self._thread is None else self._thread.submit(repeat).result()

    def _run_here(self, part: Arrays, options: Any = None) -> Sequence[NDArray[np.float32]]:
        try:
            for host, device, array in zip(self._host, self._device, part, strict=True):
                np.copyto(host, array)
                device.update_inplace(host)
            self._loaded.run_with_iobinding(self._binding, options)
            found: Sequence[NDArray[np.float32]] = self._binding.copy_outputs_to_cpu()
        except Exception as error:
            # onnxruntime raises a dozen unrelated classes here, among them bare Exception.
            raise self._failure(error) from error
        return found

    def _failure(self, error: Exception) -> Exception:
        text = " ".join(str(error).split())[:300]
        if "alloc" in text.lower() or "out of memory" in text.lower():
            return OutOfDeviceMemory(text)
        return InferenceError(
            f"onnxruntime failed on a batch of {self._batch} ({text})",
            where=self._where,
            fix="Run again, or choose another backend.",
        )
