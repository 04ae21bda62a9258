"""Running an engine of the bundle on this machine's GPU."""

from __future__ import annotations

import logging
import weakref
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from xec_deploy.backends.base import RunOptions
from xec_deploy.backends.batches import Arrays, BatchedBackend, BatchRunner, Session
from xec_deploy.backends.devices import parse_device
from xec_deploy.backends.memory import OutOfDeviceMemory, shrink_until_it_fits
from xec_deploy.bundle.onnx_file import canonical_hash, load_onnx
from xec_deploy.engines.contexts import Contexts
from xec_deploy.engines.cuda import Cuda
from xec_deploy.engines.driver import Driver
from xec_deploy.engines.find import FoundEngine, find_engine
from xec_deploy.engines.loading import LoadedEngine, load_engine
from xec_deploy.engines.profiles import choose_profile, next_smaller, usual_batch
from xec_deploy.engines.slot import Slot
from xec_deploy.engines.store import FOLDER
from xec_deploy.engines.verify import Surroundings, host_architecture
from xec_deploy.errors import BundleError, MissingExtra
from xec_deploy.tensorrt import Flavour, installed_flavours
from xec_deploy.tensorrt.device import gpu_capability

__all__ = ["SLOTS", "EngineRunner", "TensorRtBackend", "open_engine_here"]

_LOG = logging.getLogger(__name__)

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
    capability = gpu_capability(parse_device(options.device).index)
    problems = []
    for flavour in flavours:
        here = Surroundings(flavour.name, flavour.version, capability, host_architecture())
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


class EngineRunner:
    """An engine on a GPU, with some slots that work off batches at the same time.

    Parameters
    ----------
    driver
        The GPU; released by `close`.
    flavour, found
        The library and the engine.
    options
        Batch, slots (``sessions``), whether to record CUDA graphs.

    Raises
    ------
    BundleError
        If the library refuses the engine.
    UsageError
        If the GPU has no memory for the smallest batch.
    InferenceError
        If the first batch fails.
    """

    def __init__(
        self, driver: Driver, flavour: Flavour, found: FoundEngine, options: RunOptions
    ) -> None:
        self._driver, self._where = driver, str(found.path)
        self._loaded: LoadedEngine | None = None
        self._contexts: Contexts | None = None
        self._slots: list[Slot] = []
        self._profiles = found.manifest.options.profiles
        self.not_recorded: str | None = None
        """Why there are no recorded graphs; None if there are, or none were asked for."""
        try:
            with driver.current():
                self._load(flavour, found, options)
        except BaseException:
            self.close()
            raise

    def _load(self, flavour: Flavour, found: FoundEngine, options: RunOptions) -> None:
        rtx = flavour.name == "rtx"
        self._loaded = load_engine(flavour, found)
        self._contexts = Contexts(self._loaded, found.path, rtx=rtx, graphs=options.cuda_graphs)
        count = options.sessions or SLOTS
        record = options.cuda_graphs and not self._contexts.records_itself
        self._slots, self.batch = shrink_until_it_fits(
            lambda batch: self._make(batch, count, graphs=record),
            options.batch or usual_batch(self._profiles),
            lambda batch: next_smaller(self._profiles, batch),
            where=self._where,
        )
        # The first batch has compiled the kernels, which need not be the next time.
        self._contexts.save()
        self.inputs = [port.name for port in self._loaded.inputs]
        self.outputs = [port.name for port in self._loaded.outputs]
        self.graphs = _graphs_in_words(self, options)

    def _make(self, batch: int, count: int, *, graphs: bool) -> list[Slot]:
        """Return slots for a batch that have run one; none are left if there is no memory."""
        profile = choose_profile(self._profiles, batch)
        if profile is None or self._loaded is None or self._contexts is None:
            raise OutOfDeviceMemory(f"no profile takes {batch}")
        slots: list[Slot] = []
        try:
            # One after the other, so that those before a failure are known.
            slots.extend(
                Slot(self._driver, self._loaded, self._contexts, batch, profile)
                for _ in range(count)
            )
            reasons = [slot.warm_up(graphs=graphs) for slot in slots]
        except BaseException:
            for slot in slots:
                slot.free()
            raise
        self.not_recorded = next((reason for reason in reasons if reason is not None), None)
        if self.not_recorded is not None:
            _LOG.warning("%s: runs without CUDA graphs (%s)", self._where, self.not_recorded)
        return slots

    @property
    def sessions(self) -> list[Session]:
        """One function a slot, which runs a full batch."""
        return [self._session(slot) for slot in self._slots]

    @property
    def records_itself(self) -> bool:
        """Whether the library records graphs and not the slots."""
        return self._contexts is not None and self._contexts.records_itself

    @property
    def is_recorded(self) -> bool:
        """Whether every slot replays a recorded graph."""
        return all(slot.is_recorded for slot in self._slots)

    def device_seconds(self, repeats: int) -> float:
        """Return the seconds the GPU takes for a batch, copies apart."""
        with self._driver.current():
            return self._slots[0].device_seconds(repeats)

    def _session(self, slot: Slot) -> Session:
        def run(part: Arrays) -> list[NDArray[np.float32]]:
            with self._driver.current():
                return slot.run(part)

        return run

    def close(self) -> None:
        """Free slots, contexts, engine, runtime, then the GPU; nothing can be run afterwards."""
        with self._driver.current():
            for slot in self._slots:
                slot.free()
            self._slots.clear()
            if self._contexts is not None:
                self._contexts.free()
                self._contexts = None
            if self._loaded is not None:
                self._loaded.free()
                self._loaded = None
        self._driver.release()


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
        If there is no such GPU, or it has no memory for the smallest batch.
    """

    name = "tensorrt"

    def __init__(self, graph: Path, options: RunOptions | None = None) -> None:
        options = options or RunOptions(device="cuda")
        self.device = options.device
        flavour, self._found = open_engine_here(graph, options)
        self._runner = EngineRunner(
            Cuda(parse_device(options.device).index), flavour, self._found, options
        )
        # Before the interpreter ends: TensorRT's objects must go before the context they live in.
        self._close = weakref.finalize(self, self._runner.close)
        sessions = self._runner.sessions
        self._inputs, self._outputs = self._runner.inputs, self._runner.outputs
        self.options = RunOptions(
            self.device, self._runner.batch, len(sessions), 1, options.precision,
            options.cuda_graphs,
        )  # fmt: skip
        self._run = BatchRunner(sessions, self._runner.batch, pad=True)

    def device_seconds(self, repeats: int) -> float:
        """Return the seconds the GPU takes for a batch, copies apart."""
        return self._runner.device_seconds(repeats)

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
            "cuda_graphs": self._runner.graphs,
        }

    def close(self) -> None:
        """Free the GPU; nothing can be run afterwards."""
        self._close()


def _graphs_in_words(runner: EngineRunner, options: RunOptions) -> str:
    if not options.cuda_graphs:
        return "not asked for"
    if runner.records_itself:
        return "recorded by the library"
    return "recorded" if runner.is_recorded else f"none: {runner.not_recorded}"
