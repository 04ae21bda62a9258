"""PyCUDA: a context that threads share, streams, and memory on both sides."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import numpy as np

from xec_deploy.backends.memory import OutOfDeviceMemory
from xec_deploy.engines.driver import Buffer, NotCapturable, Recording
from xec_deploy.engines.graphs import record_stream
from xec_deploy.errors import MissingExtra, UsageError
from xec_deploy.tensorrt.device import load_driver

__all__ = ["Cuda"]

_NON_BLOCKING: Final = 1
"""``CU_STREAM_NON_BLOCKING``."""


class Cuda:
    """The primary context of one GPU, which other libraries of the process use as well.

    It is a :class:`~xec_deploy.engines.driver.Driver`.

    Raises
    ------
    MissingExtra
        If PyCUDA is not installed.
    UsageError
        If there is no such GPU, or its driver cannot be used.
    """

    def __init__(self, device: int = 0) -> None:
        try:
            # Late: importing it needs the driver's library.
            self.driver: Any = importlib.import_module("pycuda.driver")
        except ImportError as error:
            raise MissingExtra("pycuda", "gpu", needed_for="TensorRT") from error
        try:
            self.driver.init()
            count = self.driver.Device.count()
        except self.driver.Error as error:
            raise UsageError(
                f"the CUDA driver cannot be used ({error})",
                fix="Check it with nvidia-smi, or pass --device cpu.",
            ) from error
        if device >= count:
            raise UsageError(
                f"there is no GPU number {device}",
                fix=f"This machine shows {count}, numbered from 0.",
            )
        self._context = self.driver.Device(device).retain_primary_context()

    @contextmanager
    def current(self) -> Iterator[None]:
        """Make the context that of this thread."""
        self._context.push()
        try:
            yield
        finally:
            self.driver.Context.pop()

    def stream(self) -> Any:
        """Return a new stream, on which work runs in order."""
        # Not ordered against the default stream, on which other libraries work.
        return self.driver.Stream(_NON_BLOCKING)

    def handle(self, stream: Any) -> int:
        """Return a stream's handle."""
        return int(stream.handle)

    def buffer(self, shape: tuple[int, ...], dtype: Any) -> Buffer:
        """Allocate an array on both sides; see :class:`~xec_deploy.engines.driver.Driver`."""
        try:
            host = self.driver.pagelocked_empty(shape, np.dtype(dtype))
        except self.driver.MemoryError as error:
            raise OutOfDeviceMemory(str(error)) from error
        return Buffer(host, self.memory(host.nbytes))

    def memory(self, size: int) -> Any:
        """Allocate bytes on the device; see :class:`~xec_deploy.engines.driver.Driver`."""
        try:
            # The driver refuses to allocate nothing.
            return self.driver.mem_alloc(max(size, 1))
        except self.driver.MemoryError as error:
            raise OutOfDeviceMemory(str(error)) from error

    def upload(self, buffer: Buffer, stream: Any) -> None:
        """Queue a copy to the device."""
        self.driver.memcpy_htod_async(buffer.device, buffer.host, stream)

    def download(self, buffer: Buffer, stream: Any) -> None:
        """Queue a copy to the host."""
        self.driver.memcpy_dtoh_async(buffer.host, buffer.device, stream)

    def synchronize(self, stream: Any) -> None:
        """Wait for a stream; other threads go on."""
        stream.synchronize()

    def record(self, stream: Any, work: Callable[[], None]) -> Recording:
        """Record a CUDA graph; see :class:`~xec_deploy.engines.driver.Driver`."""
        library = load_driver()
        if library is None:
            raise NotCapturable("the driver's library is not found")
        return record_stream(library, self.handle(stream), work)

    def release(self) -> None:
        """Give the context back; nothing made in it may be left."""
        self._context.detach()
