"""Dead channels added to events, to see how resolutions suffer."""

from __future__ import annotations

from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from xec_deploy.detector.constants import N_SENSORS

__all__ = ["BOARD_CHANNELS", "DeadPattern", "dead_ranks"]

DeadPattern = Literal["channels", "boards"]
BOARD_CHANNELS: Final = 16


def dead_ranks(
    run: NDArray[np.integer],
    event: NDArray[np.integer],
    *,
    pattern: DeadPattern = "channels",
    seed: int = 0,
) -> NDArray[np.float32]:
    """Return a uniform number of each channel and event: dead at fraction f are those below f.

    A channel dead at some fraction is also dead at every larger one, and an event has the same
    numbers whatever batch it is in, so that fractions are compared on the same events and the same
    channels.

    Parameters
    ----------
    run, event
        (n,) numbers of the events.
    pattern
        Single channels, or whole boards of 16 consecutive ones.
    seed
        Another draw.

    Returns
    -------
    ranks
        (n, 4760) float32 in [0, 1).
    """
    size = N_SENSORS if pattern == "channels" else -(-N_SENSORS // BOARD_CHANNELS)
    ranks = np.empty((len(run), size), dtype=np.float32)
    for row, numbers in enumerate(zip(run, event, strict=True)):
        # Unknown runs are -1; a seed must not be negative.
        random = np.random.default_rng([seed, *(int(number) % 2**63 for number in numbers)])
        random.random(out=ranks[row], dtype=np.float32)
    if pattern == "channels":
        return ranks
    return np.repeat(ranks, BOARD_CHANNELS, axis=1)[:, :N_SENSORS]
