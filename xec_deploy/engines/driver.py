"""What the runner needs of a GPU; everything above it runs in tests without one."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

__all__ = ["Buffer", "Driver", "NotCapturable", "Recording"]


class NotCapturable(Exception):
    """Work on a stream cannot be recorded; the message says why."""


@dataclass
class Buffer:
    """The same array in pinned memory of the host and on the device."""

    host: Any
    """A NumPy array."""
    device: Any

    @property
    def address(self) -> int:
        """Address on the device."""
        return int(self.device)

    def free(self) -> None:
        """Give both up, also where a traceback still holds this."""
        self.host = self.device = None


class Recording(Protocol):
    """Work of a stream, to be replayed as one (a CUDA graph)."""

    def launch(self) -> None:
        """Queue all of it on the stream it was recorded from."""
        ...

    def free(self) -> None:
        """Give it up; its stream and memory must still be there."""
        ...


class Driver(Protocol):
    """One GPU: streams of work in order, memory on both sides.

    Everything but ``current`` and ``release`` is called within ``current``.
    """

    def current(self) -> AbstractContextManager[None]:
        """Make this GPU that of the calling thread."""
        ...

    def stream(self) -> Any:
        """Return a new stream."""
        ...

    def handle(self, stream: Any) -> int:
        """Return a stream as other libraries take it."""
        ...

    def buffer(self, shape: tuple[int, ...], dtype: Any) -> Buffer:
        """Allocate an array on both sides.

        Raises
        ------
        OutOfDeviceMemory
            If either has no room.
        """
        ...

    def memory(self, size: int) -> Any:
        """Allocate bytes on the device, whose ``int`` is their address; errors as of `buffer`."""
        ...

    def upload(self, buffer: Buffer, stream: Any) -> None:
        """Queue a copy to the device."""
        ...

    def download(self, buffer: Buffer, stream: Any) -> None:
        """Queue a copy to the host."""
        ...

    def synchronize(self, stream: Any) -> None:
        """Wait for all that was queued."""
        ...

    def record(self, stream: Any, work: Callable[[], None]) -> Recording:
        """Record what ``work`` queues on the stream instead of running it.

        Raises
        ------
        NotCapturable
            If the driver or the work does not allow it.
        """
        ...

    def release(self) -> None:
        """Give the GPU back; nothing made on it may be left."""
        ...
