"""Execution contexts of an engine, and what TensorRT for RTX keeps of compiled kernels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from xec_deploy.engines.loading import LoadedEngine
from xec_deploy.whole_file import write_whole

__all__ = ["Contexts"]


class Contexts:
    """Makes execution contexts; for TensorRT for RTX with kernels kept beside the engine.

    Where the library allows it, contexts come without memory: the caller asks how much the batch
    needs and gives it, instead of the largest batch of all profiles.

    Parameters
    ----------
    loaded
        The engine.
    path
        Its file.
    rtx
        Whether it is TensorRT for RTX, which compiles kernels when they are first needed.
    graphs
        Whether that library may record CUDA graphs; it knows best when, as it replaces kernels
        while it runs.
    """

    def __init__(self, loaded: LoadedEngine, path: Path, *, rtx: bool, graphs: bool) -> None:
        self._engine, trt = loaded.engine, loaded.trt
        self._path = path.with_name(f"{path.name}.kernels")
        self._config = self._cache = None
        strategies = trt.ExecutionContextAllocationStrategy
        self.gives_memory = not hasattr(trt.IExecutionContext, "set_device_memory") or not hasattr(
            trt.IExecutionContext, "update_device_memory_size_for_shapes"
        )
        self._strategy = strategies.STATIC if self.gives_memory else strategies.USER_MANAGED
        self.records_itself = False
        if not rtx:
            return
        self._config = self._engine.create_runtime_config()
        self._config.set_execution_context_allocation_strategy(self._strategy)
        # Kernels for the batch at once, not while events run: the same bits from the first on.
        self._config.dynamic_shapes_kernel_specialization_strategy = (
            trt.DynamicShapesKernelSpecializationStrategy.EAGER
        )
        if graphs and hasattr(trt, "CudaGraphStrategy"):
            self._config.cuda_graph_strategy = trt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
            self.records_itself = True
        self._cache = self._config.create_runtime_cache()
        if self._path.is_file():
            # Of another GPU, driver or version it is refused, and made anew.
            self._cache.deserialize(self._path.read_bytes())
        self._config.set_runtime_cache(self._cache)

    def make(self) -> Any:
        """Return a new execution context; None if there is no memory for it."""
        if self._config is None:
            return self._engine.create_execution_context(self._strategy)
        return self._engine.create_execution_context(self._config)

    def save(self) -> None:
        """Write what was compiled; a folder that may not be written is left alone."""
        if self._cache is None:
            return
        content = bytes(memoryview(self._cache.serialize()))
        try:
            write_whole(self._path, content)
        except OSError:
            return

    def free(self) -> None:
        """Give up what lives in the context of the GPU."""
        self._config = self._cache = self._engine = None
