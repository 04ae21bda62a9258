"""ONNX Runtime on an NVIDIA GPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from xec_deploy.backends.base import RunOptions
from xec_deploy.backends.batches import Arrays, BatchedBackend, BatchRunner, Session
from xec_deploy.backends.onnxruntime_cpu import load_session, session_options
from xec_deploy.errors import MissingExtra, UsageError

__all__ = ["CUDA_BATCH", "OnnxRuntimeCudaBackend"]

PROVIDER: Final = "CUDAExecutionProvider"
CUDA_BATCH: Final = 256
"""A GPU is only busy with many events."""


class OnnxRuntimeCudaBackend(BatchedBackend):
    """Runs a raw-in graph with ONNX Runtime's CUDA provider.

    Inputs go through buffers that live as long as the session: one in pinned memory of the host
    where this version of ONNX Runtime can allocate it, one on the device, to which the graph is
    bound.  A shorter batch is filled up.

    Raises
    ------
    MissingExtra
        If this ONNX Runtime was built without CUDA.
    UsageError
        If there is no device it can use.
    BundleError
        If it cannot load the graph.
    """

    name = "onnxruntime"
    device = "cuda"

    def __init__(self, graph: Path, options: RunOptions | None = None) -> None:
        options = options or RunOptions(device="cuda")
        if PROVIDER not in onnxruntime.get_available_providers():
            raise MissingExtra("onnxruntime-gpu", "gpu", needed_for="onnxruntime on cuda")
        self.options = RunOptions(
            "cuda", options.batch or CUDA_BATCH, options.sessions or 1, 1, options.precision
        )
        # TF32 keeps ten bits of the mantissa: not what fp32 stands for.
        provider = (PROVIDER, {"use_tf32": "0"})
        loaded = load_session(graph, session_options(1, options.precision), provider)
        if loaded.get_providers()[0] != PROVIDER:
            # It falls back to the CPU without an error.
            raise UsageError(
                "onnxruntime found no CUDA device it can use",
                fix="Check the driver with nvidia-smi, or pass --device cpu.",
            )
        self._session = loaded
        self._inputs = [value.name for value in loaded.get_inputs()]
        self._outputs = [value.name for value in loaded.get_outputs()]
        self._pinned = _pinned_memory()
        batch = self.options.batch or CUDA_BATCH
        sessions = [self._bound(batch) for _ in range(self.options.sessions or 1)]
        self._run = BatchRunner(sessions, batch, pad=True)

    def describe(self) -> dict[str, Any]:
        """Return settings for the provenance."""
        return {
            "name": self.name,
            "version": onnxruntime.__version__,
            "device": self.device,
            "provider": PROVIDER,
            "batch": self.options.batch,
            "sessions": self.options.sessions,
            "pinned": self._pinned is not None,
        }

    def _bound(self, batch: int) -> Session:
        """Return a session with its own buffers and bindings; weights are shared."""
        binding = self._session.io_binding()
        kinds = {"tensor(float)": np.float32, "tensor(bool)": np.bool_}
        on_device, on_host = [], []
        for value in self._session.get_inputs():
            shape, kind = [batch, *value.shape[1:]], kinds[value.type]
            buffer = onnxruntime.OrtValue.ortvalue_from_shape_and_type(shape, kind, "cuda", 0)
            binding.bind_ortvalue_input(value.name, buffer)
            on_device.append(buffer)
            if self._pinned is not None:
                on_host.append(
                    onnxruntime.OrtValue.ortvalue_from_shape_and_type(
                        shape, kind, memory_info=self._pinned
                    )
                )
        for name in self._outputs:
            binding.bind_output(name, "cuda")

        def run(part: Arrays) -> list[NDArray[np.float32]]:
            for index, array in enumerate(part):
                if on_host:
                    np.copyto(on_host[index].numpy(), array)
                    on_device[index].update_inplace(on_host[index])
                else:
                    on_device[index].update_inplace(np.ascontiguousarray(array))
            self._session.run_with_iobinding(binding)
            outputs: list[NDArray[np.float32]] = binding.copy_outputs_to_cpu()
            return outputs

        return run


def _pinned_memory() -> Any:
    """Return where pinned memory is allocated; None where ONNX Runtime does not offer it."""
    for device in getattr(onnxruntime, "get_ep_devices", list)():
        if device.ep_name == PROVIDER and hasattr(device, "memory_info"):
            return device.memory_info(onnxruntime.OrtDeviceMemoryType.HOST_ACCESSIBLE)
    return None
