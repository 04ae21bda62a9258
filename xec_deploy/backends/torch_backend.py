"""Torch as an engine: the graph of a bundle, node by node."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from xec_deploy.backends.base import DEFAULT_BATCH, RunOptions
from xec_deploy.backends.batches import Arrays, BatchedBackend, BatchRunner
from xec_deploy.backends.cores import granted_cores
from xec_deploy.backends.devices import parse_device
from xec_deploy.backends.memory import OutOfDeviceMemory, shrink_until_it_fits
from xec_deploy.backends.torch_fixed import FixedBatch
from xec_deploy.backends.torch_graph import TorchGraph
from xec_deploy.backends.torch_precision import graph_in, products_in
from xec_deploy.backends.torch_slots import CudaLane, TorchSlot
from xec_deploy.bundle.onnx_file import load_onnx
from xec_deploy.errors import UsageError

__all__ = ["CUDA_BATCH", "TorchBackend"]

_LOG = logging.getLogger(__name__)

CUDA_BATCH: Final = 256
CUDA_SLOTS: Final = 2
"""One batch is copied while the other is computed."""


class TorchBackend(BatchedBackend):
    """Runs a raw-in graph with torch: slow on a CPU, and independent of the other engines.

    On a GPU every batch is of one size, so that its work is recorded once as a CUDA graph; two
    slots, each with a stream and pinned memory, work off batches in turn.  Float32 products are
    exact unless the precision is ``tf32``; ``fp16`` and ``bf16`` are made of an fp32 graph as
    ``docs/backends.md`` says.

    Raises
    ------
    UsageError
        If there is no such device or precision, or no memory for an event.
    BundleError
        If the graph has something that torch does not.
    """

    name = "torch"

    def __init__(self, graph: Path, options: RunOptions | None = None) -> None:
        options = options or RunOptions()
        self.device = options.device
        device = parse_device(options.device)
        model = graph_in(load_onnx(graph), options.precision)
        self._where = str(graph)
        self._recorded = "none"
        self._slots: list[TorchSlot] = []
        if device.kind == "cpu":
            if options.precision == "tf32":
                raise UsageError("a CPU has no TF32", fix="Pass --precision fp32 or bf16.")
            self._graph = TorchGraph(graph, model=model)
            self._run = self._on_cpu(options)
        else:
            count = torch.cuda.device_count() if torch.cuda.is_available() else 0
            if device.index >= count:
                raise UsageError(
                    f"torch found no CUDA device {device.index} it can use",
                    fix=f"It sees {count}. Check the driver with nvidia-smi, or pass --device cpu.",
                )
            self._graph = TorchGraph(graph, model=model, device=f"cuda:{device.index}")
            self._run = self._on_gpu(options, device.index)
        self._inputs, self._outputs = self._graph.inputs, self._graph.outputs

    def run(
        self, npho: NDArray[np.float32], time: NDArray[np.float32], dead: NDArray[np.bool_]
    ) -> dict[str, NDArray[np.float32]]:
        """Run events; see :class:`~xec_deploy.backends.base.Backend`."""
        before = torch.get_num_threads()
        try:
            with products_in(self.options.precision):
                return super().run(npho, time, dead)
        finally:
            torch.set_num_threads(before)

    def device_seconds(self, repeats: int) -> float:
        """Return the seconds the GPU takes for a batch, copies apart.

        Raises
        ------
        UsageError
            If it runs on a CPU.
        """
        if not self._slots:
            raise UsageError("a CPU has no copies to leave out", fix="Measure whole requests.")
        with products_in(self.options.precision):
            return self._slots[0].device_seconds(repeats)

    def describe(self) -> dict[str, Any]:
        """Return settings for the provenance."""
        described = {
            "name": self.name,
            "version": torch.__version__,
            "device": self.device,
            "arithmetic": self.options.precision,
            "batch": self.options.batch,
            "sessions": self.options.sessions,
            "threads": self.options.threads,
        }
        if self.device != "cpu":
            described["gpu"] = torch.cuda.get_device_name(self._graph.device)
            described["cuda_graphs"] = self._recorded
        return described

    def _on_cpu(self, options: RunOptions) -> BatchRunner:
        batch, sessions = options.batch or DEFAULT_BATCH, options.sessions or 1
        threads = options.threads or max(1, granted_cores() // sessions)
        self.options = RunOptions("cpu", batch, sessions, threads, options.precision)
        return BatchRunner([self._session] * sessions, batch)

    def _session(self, part: Arrays) -> list[NDArray[np.float32]]:
        # A setting of the calling thread, which is a session's own where there are several.
        torch.set_num_threads(self.options.threads or 1)
        found = self._graph.run(dict(zip(self._graph.inputs, part, strict=True)))
        return [found[name].astype(np.float32, copy=False) for name in self._graph.outputs]

    def _on_gpu(self, options: RunOptions, index: int) -> BatchRunner:
        count = options.sessions or CUDA_SLOTS
        with products_in(options.precision):
            self._slots, batch = shrink_until_it_fits(
                lambda size: self._make(size, count, index, graphs=options.cuda_graphs),
                options.batch or CUDA_BATCH,
                lambda size: size // 2 or None,
                where=self._where,
            )
        self.options = RunOptions(
            self.device, batch, count, 1, options.precision, options.cuda_graphs
        )
        reasons = [slot.not_recorded for slot in self._slots if slot.not_recorded is not None]
        self._recorded = f"none: {reasons[0]}" if reasons else "recorded"
        if reasons:
            _LOG.warning("%s: torch runs without CUDA graphs (%s)", self._where, reasons[0])
        elif not options.cuda_graphs:
            self._recorded = "not asked for"
        return BatchRunner([slot.run for slot in self._slots], batch, pad=True)

    def _make(self, batch: int, count: int, index: int, *, graphs: bool) -> list[TorchSlot]:
        try:
            with torch.inference_mode():
                examples = self._graph.zeros(batch)
                network = FixedBatch(self._graph, examples)
            torch.cuda.synchronize(index)
            return [
                TorchSlot(CudaLane(index), network, examples, graphs=graphs, where=self._where)
                for _ in range(count)
            ]
        except torch.OutOfMemoryError as error:
            raise OutOfDeviceMemory(str(error)) from None
        finally:
            # What a failed attempt held goes back, so that a smaller one can have it.
            torch.cuda.empty_cache()
