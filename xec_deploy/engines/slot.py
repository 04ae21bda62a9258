"""One batch in flight: a stream, an execution context, memory, and a recorded graph."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xec_deploy.backends.batches import Arrays
from xec_deploy.backends.memory import OutOfDeviceMemory
from xec_deploy.engines.contexts import Contexts
from xec_deploy.engines.driver import Buffer, Driver, NotCapturable, Recording
from xec_deploy.engines.loading import LoadedEngine, Port, last_error
from xec_deploy.errors import BundleError, InferenceError

__all__ = ["Slot"]


class Slot:
    """Everything one batch needs from its copy to the GPU to its copy back.

    Made and used within ``driver.current()``.  What has been allocated stays until `free`, so that
    addresses never change and the GPU's work can be recorded.

    Parameters
    ----------
    driver
        The GPU.
    loaded, contexts
        The engine.
    batch, profile
        Events of a batch, and the number of the profile that takes it.

    Raises
    ------
    OutOfDeviceMemory
        If there is no room; what was allocated is given back.
    BundleError
        If the engine refuses the profile or a shape.
    """

    def __init__(
        self, driver: Driver, loaded: LoadedEngine, contexts: Contexts, batch: int, profile: int
    ) -> None:
        self._driver, self._loaded, self.batch = driver, loaded, batch
        self._context: Any = None
        self._memory: Any = None
        self._buffers: dict[str, Buffer] = {}
        self._recording: Recording | None = None
        self.stream: Any = driver.stream()
        try:
            self._prepare(contexts, profile)
        except BaseException:
            self.free()
            raise

    def _prepare(self, contexts: Contexts, profile: int) -> None:
        driver, loaded = self._driver, self._loaded
        self._context = contexts.make()
        if self._context is None:
            reason = last_error(loaded.logger, "no execution context")
            raise OutOfDeviceMemory(reason)
        handle = driver.handle(self.stream)
        self._accepted(
            self._context.set_optimization_profile_async(profile, handle), f"profile {profile}"
        )
        driver.synchronize(self.stream)
        for port in loaded.inputs:
            self._accepted(
                self._context.set_input_shape(port.name, (self.batch, *port.sizes)),
                f"a batch of {self.batch} for {port.name!r}",
            )
        if not contexts.gives_memory:
            size = int(self._context.update_device_memory_size_for_shapes())
            self._memory = driver.memory(size)
            self._context.set_device_memory(int(self._memory), size)
        for port in (*loaded.inputs, *loaded.outputs):
            self._buffers[port.name] = self._buffer(port)
            self._accepted(
                self._context.set_tensor_address(port.name, self._buffers[port.name].address),
                f"memory of {port.name!r}",
            )

    def _buffer(self, port: Port) -> Buffer:
        shape = tuple(self._context.get_tensor_shape(port.name))
        if shape[:1] != (self.batch,):
            raise BundleError(
                f"the engine's {port.name!r} has shape {shape} for {self.batch} events",
                where=self._loaded.where,
                fix="Build it again with xec-deploy build-engine.",
            )
        return self._driver.buffer(shape, port.dtype)

    def _accepted(self, done: bool, what: str) -> None:
        if not done:
            raise BundleError(
                f"the engine refuses {what}: "
                f"{last_error(self._loaded.logger, 'it gives no reason')}",
                where=self._loaded.where,
                fix="Build it again with xec-deploy build-engine.",
            )

    def warm_up(self, *, graphs: bool) -> str | None:
        """Run some batches, then record the engine's work on the GPU and replay it.

        The library allocates and compiles at the first batch, which must be over before anything
        is recorded.

        Returns
        -------
        reason
            Why nothing is recorded, and each kernel launched for itself; None if it is, or
            ``graphs`` is false.

        Raises
        ------
        OutOfDeviceMemory
            If that is what the first batch fails of.
        InferenceError
            If it fails otherwise.
        """
        one, other = (
            tuple(port.example(self.batch, seed) for port in self._loaded.inputs) for seed in (1, 2)
        )
        plain = self._first_batch(one)
        if not graphs:
            return None
        # What is left in memory by another batch shows a recording that does nothing.
        self.run(other)
        try:
            self._recording = self._driver.record(self.stream, self._execute)
            replayed = self.run(one)
        except (NotCapturable, InferenceError) as error:
            self._forget()
            # A failed capture leaves the context fit for plain runs.
            self.run(other)
            return str(error)
        same = (np.array_equal(a, b, equal_nan=True) for a, b in zip(plain, replayed, strict=True))
        if not all(same):
            self._forget()
            return "the recorded graph gives other results"
        return None

    @property
    def is_recorded(self) -> bool:
        """Whether batches are replays of a recorded graph."""
        return self._recording is not None

    def run(self, part: Arrays) -> list[NDArray[np.float32]]:
        """Run a full batch; called by any thread, one at a time.

        Raises
        ------
        InferenceError
            If the library or the driver fails.
        """
        driver = self._driver
        for port, array in zip(self._loaded.inputs, part, strict=True):
            buffer = self._buffers[port.name]
            np.copyto(buffer.host, array)
            driver.upload(buffer, self.stream)
        self._queue()
        outputs = [self._buffers[port.name] for port in self._loaded.outputs]
        for buffer in outputs:
            driver.download(buffer, self.stream)
        driver.synchronize(self.stream)
        return [buffer.host.astype(np.float32) for buffer in outputs]

    def device_seconds(self, repeats: int) -> float:
        """Return the seconds the GPU takes for a batch that is there already."""
        self._queue()
        self._driver.synchronize(self.stream)
        start = time.perf_counter()
        for _ in range(repeats):
            self._queue()
        self._driver.synchronize(self.stream)
        return (time.perf_counter() - start) / repeats

    def free(self) -> None:
        """Give up what lives on the GPU, what others depend on last."""
        self._forget()
        self._context = None
        self._memory = None
        for buffer in self._buffers.values():
            buffer.free()
        self._buffers = {}
        self.stream = None

    def _first_batch(self, part: Arrays) -> list[NDArray[np.float32]]:
        try:
            return self.run(part)
        except InferenceError as error:
            if "memory" in error.what.lower():
                raise OutOfDeviceMemory(error.what) from error
            raise

    def _queue(self) -> None:
        """Queue the computation of a batch."""
        if self._recording is None:
            self._execute()
            return
        try:
            self._recording.launch()
        except NotCapturable as error:
            raise self._failure(str(error)) from error

    def _execute(self) -> None:
        if not self._context.execute_async_v3(self._driver.handle(self.stream)):
            raise self._failure(last_error(self._loaded.logger, "it gives no reason"))

    def _failure(self, reason: str) -> InferenceError:
        return InferenceError(
            f"the engine failed on a batch of {self.batch} ({reason})",
            where=self._loaded.where,
            fix="Run again; if it fails once more, build it again with xec-deploy build-engine.",
        )

    def _forget(self) -> None:
        if self._recording is not None:
            self._recording.free()
            self._recording = None
