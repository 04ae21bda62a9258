"""Events per second of a network's forward pass."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch

from xec_train.data import RawBatch
from xec_train.evaluation.methods import BundleNetwork, TorchNetwork

__all__ = ["Throughput", "measure_throughput"]

MINIMUM_PASSES: Final = 3


@dataclass(frozen=True)
class Throughput:
    """Speed of a forward pass from raw arrays to physical quantities.

    Attributes
    ----------
    events_per_second
        Median of the passes; inputs are on the device already.
    spread
        Half the width of the interval that holds the middle 68 % of the passes.
    batch
        Events of a pass.
    """

    events_per_second: float
    spread: float
    batch: int


def measure_throughput(
    network: TorchNetwork | BundleNetwork, batch: RawBatch, *, seconds: float = 2.0
) -> Throughput:
    """Time a network on a batch after a warm-up, for ``seconds`` or three passes if longer."""
    if isinstance(network, TorchNetwork):
        moved = batch.to(network.device)

        def run() -> None:
            network.forward(moved.npho, moved.time, moved.dead)
            if network.device.type == "cuda":
                torch.cuda.synchronize(network.device)
    else:

        def run() -> None:
            network.estimate(batch)

    run()  # the first pass compiles and allocates
    durations: list[float] = []
    while len(durations) < MINIMUM_PASSES or sum(durations) < seconds:
        start = time.perf_counter()
        run()
        durations.append(time.perf_counter() - start)
    rates = len(batch) / np.array(durations)
    low, middle, high = np.quantile(rates, (0.16, 0.5, 0.84))
    return Throughput(float(middle), float(high - low) / 2, len(batch))
