"""Ranges of batches an engine is ready for: which one to run, and what to try with less memory.

An engine may have several optimisation profiles.  Kernels are chosen for the usual batch of each,
so that small and large batches need not share a compromise.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["Profile", "choose_profile", "describe_profiles", "next_smaller", "usual_batch"]

Profile = tuple[int, int, int]
"""Smallest, most frequent and largest batch."""


def choose_profile(profiles: Sequence[Profile], batch: int) -> int | None:
    """Return the number of the profile for a batch: of those that take it the nearest one.

    Nearest is the usual batch; None means that none takes it.
    """
    able = [i for i, (low, _, high) in enumerate(profiles) if low <= batch <= high]
    return min(able, key=lambda i: abs(profiles[i][1] - batch), default=None)


def usual_batch(profiles: Sequence[Profile]) -> int:
    """Return the batch to run where none is asked for: the largest of the usual ones."""
    return max(usual for _, usual, _ in profiles)


def next_smaller(profiles: Sequence[Profile], batch: int) -> int | None:
    """Return the batch to try where one does not fit into memory: half of it, or what is next.

    Between profiles there may be gaps; None means that there is nothing smaller.
    """
    half = batch // 2
    below = [min(half, high) for low, _, high in profiles if low <= half]
    if below:
        return max(below)
    smallest = min(low for low, _, _ in profiles)
    return smallest if smallest < batch else None


def describe_profiles(profiles: Sequence[Profile]) -> str:
    """Return profiles in words: ``1 to 256, best at 64``."""
    return "; ".join(f"{low} to {high}, best at {usual}" for low, usual, high in profiles)
