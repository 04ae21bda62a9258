"""Stages that overlap: an iterator that runs ahead of its consumer in a thread of its own.

A pipeline is then a chain of generators, each wrapped in `Ahead`.  Decompression, engines and
the C++ library release the interpreter lock, so the threads do run at the same time.  An error in
a stage travels down the chain as exceptions do, and closing the last stage closes all of them.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Generator, Iterator
from typing import Generic, Self, TypeVar

__all__ = ["Ahead", "Channel", "Closed"]

T = TypeVar("T")


class Closed(Exception):
    """The other end of a channel is gone, or has no more to give."""


class Channel(Generic[T]):
    """A bounded queue between two threads that either end can close.

    Attributes
    ----------
    waited
        Seconds spent in `get`.
    """

    def __init__(self, size: int) -> None:
        self._items: deque[T] = deque()
        self._size = size
        self._changed = threading.Condition()
        self._finished = self._closed = False
        self.waited = 0.0

    def put(self, item: T) -> None:
        """Append an item; waits while the channel is full.

        Raises
        ------
        Closed
            If nobody will take it.
        """
        with self._changed:
            while len(self._items) >= self._size and not self._closed:
                self._changed.wait()
            if self._closed:
                raise Closed
            self._items.append(item)
            self._changed.notify_all()

    def get(self) -> T:
        """Take the oldest item; waits for one.

        Raises
        ------
        Closed
            If there is none and none will come.
        """
        start = time.perf_counter()
        with self._changed:
            while not self._items and not self._finished and not self._closed:
                self._changed.wait()
            self.waited += time.perf_counter() - start
            if self._closed or not self._items:
                raise Closed
            item = self._items.popleft()
            self._changed.notify_all()
            return item

    def finish(self) -> None:
        """Say that no more items come; those in the channel can still be taken."""
        with self._changed:
            self._finished = True
            self._changed.notify_all()

    def close(self) -> None:
        """Give up: what is in the channel is dropped, and both ends are told."""
        with self._changed:
            self._closed = True
            self._items.clear()
            self._changed.notify_all()


class Ahead(Generic[T]):
    """Iterates over what a generator yields in another thread, some items ahead.

    Parameters
    ----------
    items
        The generator; it is closed in that thread.
    depth
        How many items it may be ahead.
    name
        Of the thread.

    Attributes
    ----------
    working
        Seconds the generator ran, waiting for its own sources included.
    """

    def __init__(self, items: Generator[T, None, None], depth: int, name: str) -> None:
        self._items = items
        self._channel: Channel[T] = Channel(depth)
        self._error: BaseException | None = None
        self.working = 0.0
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @property
    def waited(self) -> float:
        """Seconds its consumer waited for items."""
        return self._channel.waited

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        try:
            return self._channel.get()
        except Closed:
            self._thread.join()
            if self._error is not None:
                error, self._error = self._error, None
                raise error from None
            raise StopIteration from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop the generator and wait for its thread."""
        self._channel.close()
        self._thread.join()

    def _run(self) -> None:
        try:
            while True:
                start = time.perf_counter()
                try:
                    item = next(self._items)
                except StopIteration:
                    break
                finally:
                    self.working += time.perf_counter() - start
                self._channel.put(item)
        except Closed:
            pass
        except BaseException as error:  # noqa: BLE001 - raised again where the items are awaited
            self._error = error
        finally:
            try:
                self._items.close()
            except BaseException as error:  # noqa: BLE001 - as above
                self._error = self._error or error
            self._channel.finish()
