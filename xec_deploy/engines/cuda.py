"""PyCUDA: a context that threads share, streams, and memory on both sides."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xec_deploy.engines.memory import OutOfDeviceMemory
from xec_deploy.errors import MissingExtra, UsageError

__all__ = ["Buffer", "Cuda"]


@dataclass(frozen=True)
class Buffer:
    """The same array in pinned memory of the host and on the device."""

    host: NDArray[Any]
    device: Any

    @property
    def address(self) -> int:
        """Address on the device."""
        return int(self.device)


class Cuda:
    """The primary context of one GPU, which other libraries of the process use as well.

    Raises
    ------
    MissingExtra
        If PyCUDA is not installed.
    UsageError
        If there is no such GPU.
    """

    def __init__(self, device: int = 0) -> None:
        try:
            # Late: importing it needs the driver's library.
            self.driver: Any = importlib.import_module("pycuda.driver")
        except ImportError as error:
            raise MissingExtra("pycuda", "gpu", needed_for="TensorRT") from error
        self.driver.init()
        count = self.driver.Device.count()
        if device >= count:
            raise UsageError(f"there is no GPU number {device}", fix=f"This machine shows {count}.")
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
        return self.driver.Stream()

    def buffer(self, shape: tuple[int, ...], dtype: Any) -> Buffer:
        """Allocate an array on both sides.

        Raises
        ------
        OutOfDeviceMemory
            If either has no room.
        """
        try:
            host = self.driver.pagelocked_empty(shape, np.dtype(dtype))
            return Buffer(host, self.driver.mem_alloc(max(host.nbytes, 1)))
        except self.driver.MemoryError as error:
            raise OutOfDeviceMemory(str(error)) from error

    def upload(self, buffer: Buffer, stream: Any) -> None:
        """Queue a copy to the device."""
        self.driver.memcpy_htod_async(buffer.device, buffer.host, stream)

    def download(self, buffer: Buffer, stream: Any) -> None:
        """Queue a copy to the host."""
        self.driver.memcpy_dtoh_async(buffer.host, buffer.device, stream)

    def release(self) -> None:
        """Give the context back; nothing made in it may be left."""
        self._context.detach()
