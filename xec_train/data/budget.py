"""How a bound in bytes is spent: half on the units being mixed, half on batches on their way.

Counted are the buffers of one training process and its workers that hold events.  Not counted:
the interpreter and libraries of each process, and what decompression of one block of one branch
takes in each worker, some three times `blocks.BLOCK_BYTES` (or one basket where that is larger).
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass

from xec_deploy.detector.constants import N_SENSORS
from xec_deploy.errors import UsageError
from xec_train.config.sections import DataConfig

__all__ = ["EVENT_BYTES", "UNIT_EVENTS", "Budget", "evaluation_budget", "training_budget"]

logger = logging.getLogger(__name__)

EVENT_BYTES = N_SENSORS * (4 + 4 + 1) + 128
"""43 kB: npho, time, dead, and room for targets, run and event."""
UNIT_EVENTS = 2**25 // EVENT_BYTES
"""Events of a unit; larger baskets are read in parts, and decompressed once for each."""
USUAL_LANES = 8
MOST_LANES = 128
UNITS_A_LANE = 16
"""At least, where there are more lanes than usual: a lane begins and ends within a unit, which is
read twice."""
LEAST_PREFETCH = 1
HANDS = 2
"""Batches outside the workers' buffers: one that is filled, one that is used."""


@dataclass(frozen=True)
class Budget:
    """What fits.

    Attributes
    ----------
    lanes
        Lanes over all ranks, a multiple of their number.
    workers
        Processes of this rank; 0 to read in the training process.
    prefetch
        Batches (units, in evaluation) a worker keeps ready.
    """

    lanes: int
    workers: int
    prefetch: int


def training_budget(config: DataConfig, *, largest: int, units: int, world: int) -> Budget:
    """Spend the bound on a shuffled stream.

    The number of lanes depends on the memory and chunk size of all ranks together, so that N
    processes see what one process with N times the batch, the memory and the chunk size sees.

    Parameters
    ----------
    config
        Batch size, chunk size, memory, workers and prefetch factor, all of one rank.
    largest, units
        Entries of the largest unit, and number of units.
    world
        Number of ranks.

    Raises
    ------
    UsageError
        If not even the least fits.
    """
    half = config.memory_mb * 1_000_000 // 2
    batch, unit = config.batch_size * EVENT_BYTES, largest * EVENT_BYTES
    lanes = min(
        MOST_LANES,
        world * half // unit,
        max(USUAL_LANES, world * config.chunksize // largest),
        max(USUAL_LANES, units // UNITS_A_LANE),
    )
    lanes = 1 << max(lanes.bit_length() - 1, 0)
    lanes = -(-lanes // world) * world
    workers = _workers(config, lanes // world)
    least = HANDS + (LEAST_PREFETCH + 1 if workers else 0)
    _require(config, max(lanes // world * unit, least * batch), half)
    prefetch = min(config.prefetch_factor, half // batch - HANDS - 1)
    return Budget(lanes, workers, _told(config, prefetch) if workers else 0)


def evaluation_budget(config: DataConfig, *, largest: int, units: int) -> Budget:
    """Spend the bound on a stream in the order of the files; workers read whole units.

    Raises
    ------
    UsageError
        If not even the least fits.
    """
    total = config.memory_mb * 1_000_000
    unit = largest * EVENT_BYTES
    left = total - HANDS * config.batch_size * EVENT_BYTES
    workers = min(_workers(config, units), left // ((LEAST_PREFETCH + 1) * unit))
    if workers < 1:
        _require(config, total - left + unit, total)
        return Budget(1, 0, 0)
    return Budget(1, workers, min(config.prefetch_factor, left // (workers * unit) - 1))


def _workers(config: DataConfig, shares: int) -> int:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return min(config.num_workers, shares, cores or 1)


def _told(config: DataConfig, prefetch: int) -> int:
    if prefetch < config.prefetch_factor:
        logger.info(
            "%d batches instead of %d are prefetched, to stay within data.memory_mb = %d",
            prefetch,
            config.prefetch_factor,
            config.memory_mb,
        )
    return prefetch


def _require(config: DataConfig, needed: int, available: int) -> None:
    if needed > available:
        enough = -(-config.memory_mb * needed // available)
        raise UsageError(
            f"data.memory_mb = {config.memory_mb} is too small for these files with "
            f"data.batch_size = {config.batch_size}",
            fix=f"Set data.memory_mb to {enough} or more, or make the batches smaller.",
        )
