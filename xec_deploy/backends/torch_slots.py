"""Batches on a GPU with torch: fixed buffers, a stream a slot, and a recorded graph."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xec_deploy.backends.batches import Arrays
from xec_deploy.backends.memory import OutOfDeviceMemory
from xec_deploy.backends.torch_fixed import FixedBatch
from xec_deploy.errors import BundleError, InferenceError

__all__ = ["CudaLane", "Lane", "Replay", "TorchSlot"]

Replay = tuple[Callable[[], None], Sequence[Tensor]]
"""Runs recorded work again, and where its results then are."""
Work = Callable[[], Sequence[Tensor]]


class Lane(Protocol):
    """Work in order on a device, beside that of other lanes."""

    def entered(self) -> AbstractContextManager[object]:
        """Let what torch does in this thread go to the lane."""
        ...

    def host(self, like: Tensor) -> Tensor:
        """Return memory of the host for a tensor's values, from which copies do not wait."""
        ...

    def record(self, work: Work) -> Replay:
        """Record what ``work`` does; ``RuntimeError`` if it cannot be recorded."""
        ...

    def wait(self) -> None:
        """Wait for all that was begun."""
        ...


class CudaLane:
    """A stream of a GPU."""

    def __init__(self, index: int) -> None:
        self._device = torch.device("cuda", index)
        self._stream = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]

    def entered(self) -> AbstractContextManager[object]:
        """Make the GPU and the stream those of this thread."""
        stack = ExitStack()
        stack.enter_context(torch.inference_mode())
        stack.enter_context(torch.cuda.device(self._device))
        stack.enter_context(torch.cuda.stream(self._stream))
        return stack

    def host(self, like: Tensor) -> Tensor:
        """Return pinned memory."""
        return torch.empty(like.shape, dtype=like.dtype, pin_memory=True)

    def record(self, work: Work) -> Replay:
        """Record a CUDA graph with memory of its own."""
        graph = torch.cuda.CUDAGraph()
        # Other lanes' threads may go on meanwhile.
        with torch.cuda.graph(graph, stream=self._stream, capture_error_mode="thread_local"):
            results = work()
        return graph.replay, results

    def wait(self) -> None:
        """Wait for the stream; other threads go on."""
        self._stream.synchronize()


class TorchSlot:
    """One batch in flight.

    Parameters
    ----------
    lane
        Where it runs.
    network
        The graph for the batch; slots share it.
    examples
        Inputs of the batch size on the device.
    graphs
        Whether to record the work and replay it.
    where
        The graph's file, for messages.

    Raises
    ------
    OutOfDeviceMemory
        If there is no room.
    """

    def __init__(
        self,
        lane: Lane,
        network: FixedBatch,
        examples: Sequence[Tensor],
        *,
        graphs: bool,
        where: str,
    ) -> None:
        self._lane, self._network, self._where = lane, network, where
        self._replay: Replay | None = None
        self.not_recorded: str | None = None
        """Why the work is not recorded; None if it is, or was not to be."""
        try:
            with lane.entered():
                self._inputs = [example.clone() for example in examples]
                self._host_inputs = [lane.host(example) for example in examples]
                # Kernels are chosen and memory is taken at the first runs, which is not recorded.
                for _ in range(2):
                    results = network(*self._inputs)
                self._host_outputs = [lane.host(result.float()) for result in results]
                lane.wait()
                if graphs:
                    self._record(results)
        except torch.OutOfMemoryError as error:
            raise OutOfDeviceMemory(str(error)) from None

    def run(self, part: Arrays) -> list[NDArray[np.float32]]:
        """Run a full batch; called by any thread, one at a time.

        Raises
        ------
        InferenceError
            If the device fails.
        """
        try:
            with self._lane.entered():
                for array, host, target in zip(part, self._host_inputs, self._inputs, strict=True):
                    np.copyto(host.numpy(), array)
                    target.copy_(host, non_blocking=True)
                results = self._compute()
                for result, host in zip(results, self._host_outputs, strict=True):
                    host.copy_(result, non_blocking=True)
                self._lane.wait()
        except RuntimeError as error:
            raise InferenceError(
                f"torch failed on a batch of {len(part[0])} ({error})",
                where=self._where,
                fix="Run again, with a smaller --batch if memory is short.",
            ) from error
        return [host.numpy().copy() for host in self._host_outputs]

    def device_seconds(self, repeats: int) -> float:
        """Return the seconds the device takes for a batch that is there already."""
        with self._lane.entered():
            self._compute()
            self._lane.wait()
            start = time.perf_counter()
            for _ in range(repeats):
                self._compute()
            self._lane.wait()
            return (time.perf_counter() - start) / repeats

    def _compute(self) -> Sequence[Tensor]:
        if self._replay is None:
            found: Sequence[Tensor] = self._network(*self._inputs)
            return found
        replay, results = self._replay
        replay()
        return results

    def _record(self, plain: Sequence[Tensor]) -> None:
        """Record the work, and keep that only if it gives the same results."""
        try:
            self._replay = self._lane.record(lambda: self._network(*self._inputs))
            replayed = self._compute()
            self._lane.wait()
        except torch.OutOfMemoryError:
            raise
        except (RuntimeError, BundleError) as error:
            self._replay, self.not_recorded = None, " ".join(str(error).split())[:200]
            return
        for one, other in zip(plain, replayed, strict=True):
            if not torch.allclose(one.float(), other.float(), rtol=1e-2, equal_nan=True):
                self._replay, self.not_recorded = None, "the recorded graph gives other results"
