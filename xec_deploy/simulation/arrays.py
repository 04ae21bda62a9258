"""NumPy or torch behind the few operations the simulation needs.

The physics is written once; where torch sees a GPU the same lines run on it.  The two draw
different random numbers, so a sample is reproducible for a given namespace and seed.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from xec_deploy.errors import UsageError

__all__ = ["Array", "Arrays", "NumPyArrays", "TorchArrays", "choose_arrays"]

Array = Any


class Arrays(Protocol):
    """An array namespace, a random stream, and the way in and out of NumPy."""

    xp: Any
    events_per_step: int
    """Events propagated at once: few on a CPU (cache), many on a GPU."""
    parallel_blocks: bool
    """Whether blocks of events may run in threads."""

    def seed(self, *key: int) -> Arrays:
        """Return the same namespace with an independent stream for ``key``."""
        ...

    def asarray(self, values: ArrayLike) -> Array:
        """Move values in, float32."""
        ...

    def to_numpy(self, array: Array) -> NDArray[Any]:
        """Move values out."""
        ...

    def uniform(self, *shape: int) -> Array:
        """Draw uniform numbers in [0, 1)."""
        ...

    def normal(self, *shape: int) -> Array:
        """Draw standard normal numbers."""
        ...

    def exponential(self, *shape: int) -> Array:
        """Draw standard exponential numbers."""
        ...

    def poisson(self, mean: Array) -> Array:
        """Draw Poisson numbers with the given means, float32."""
        ...


class NumPyArrays:
    """The simulation on NumPy alone."""

    xp: Any = np
    events_per_step = 1
    parallel_blocks = True

    def __init__(self, *key: int) -> None:
        self._random = np.random.Generator(np.random.SFC64(np.random.SeedSequence(key)))

    def seed(self, *key: int) -> NumPyArrays:
        """Return an independent stream."""
        return NumPyArrays(*key)

    def asarray(self, values: ArrayLike) -> NDArray[np.float32]:
        """Convert to float32."""
        return np.asarray(values, dtype=np.float32)

    def to_numpy(self, array: Array) -> NDArray[Any]:
        """Return the array itself."""
        return np.asarray(array)

    def uniform(self, *shape: int) -> NDArray[np.float32]:
        """Draw uniform numbers in [0, 1)."""
        return self._random.random(shape, dtype=np.float32)

    def normal(self, *shape: int) -> NDArray[np.float32]:
        """Draw standard normal numbers."""
        return self._random.standard_normal(shape, dtype=np.float32)

    def exponential(self, *shape: int) -> NDArray[np.float32]:
        """Draw standard exponential numbers."""
        return self._random.standard_exponential(shape, dtype=np.float32)

    def poisson(self, mean: Array) -> NDArray[np.float32]:
        """Draw Poisson numbers."""
        return np.asarray(self._random.poisson(mean), dtype=np.float32)


class TorchArrays:
    """The simulation on a torch device."""

    events_per_step = 128
    parallel_blocks = False

    def __init__(self, device: str, *key: int) -> None:
        import torch  # noqa: PLC0415 - the simulation itself does not need torch

        self.xp: Any = torch
        self._device = device
        self._random = torch.Generator(device)
        state = np.random.SeedSequence(key or (0,)).generate_state(1, np.uint64)[0]
        self._random.manual_seed(int(state >> np.uint64(1)))

    def seed(self, *key: int) -> TorchArrays:
        """Return an independent stream on the same device."""
        return TorchArrays(self._device, *key)

    def asarray(self, values: ArrayLike) -> Array:
        """Move to the device as float32."""
        return self.xp.as_tensor(np.asarray(values, dtype=np.float32).copy(), device=self._device)

    def to_numpy(self, array: Array) -> NDArray[Any]:
        """Move back to the host."""
        return np.asarray(array.cpu().numpy())

    def uniform(self, *shape: int) -> Array:
        """Draw uniform numbers in [0, 1)."""
        return self.xp.rand(shape, generator=self._random, device=self._device)

    def normal(self, *shape: int) -> Array:
        """Draw standard normal numbers."""
        return self.xp.randn(shape, generator=self._random, device=self._device)

    def exponential(self, *shape: int) -> Array:
        """Draw standard exponential numbers by inversion."""
        return -self.xp.log1p(-self.uniform(*shape))

    def poisson(self, mean: Array) -> Array:
        """Draw Poisson numbers."""
        return self.xp.poisson(mean, generator=self._random)


def choose_arrays(device: str = "cpu") -> Arrays:
    """Return NumPy for ``cpu``, torch for any other device (``cuda``, ``cuda:1``).

    Raises
    ------
    UsageError
        If torch cannot use the device.
    """
    if device == "cpu":
        return NumPyArrays()
    try:
        return TorchArrays(device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise UsageError(
            f"torch cannot use the device {device!r} ({reason})",
            fix="Use 'cpu', or 'cuda' where torch sees a GPU.",
        ) from error
