"""Being told to stop: SIGTERM and SIGINT end the work at the next batch, with all of it kept."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

__all__ = ["StopRequest", "stop_on_signals"]

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopRequest:
    """Whether, and by what, the work was told to stop; seen by every stage."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self.reason = ""

    def __bool__(self) -> bool:
        return self._event.is_set()

    def set(self, reason: str) -> None:
        """Ask all stages to stop."""
        if not self._event.is_set():
            self.reason = reason
            self._event.set()


@contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Turn the first SIGTERM or SIGINT into a request; a second one has its usual effect.

    Only the main thread can do so; elsewhere (a worker of a cluster) signals stay as they are.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before: dict[signal.Signals, Any] = {}

    def handle(number: int, frame: FrameType | None) -> None:
        del frame
        restore()
        request.set(signal.Signals(number).name)

    def restore() -> None:
        for number, handler in before.items():
            # None is a handler that was not installed by Python, and cannot be put back by it.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    before.update({number: signal.signal(number, handle) for number in SIGNALS})
    try:
        yield request
    finally:
        restore()
