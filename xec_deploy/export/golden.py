"""Golden events of a bundle: simulated, some of them adversarial, with outputs in float64."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xec_deploy.bundle import GoldenEvents
from xec_deploy.detector.constants import INVALID_ABOVE, N_SENSORS
from xec_deploy.simulation import BLOCK_EVENTS, SimulationConfig, simulate

__all__ = ["RawModule", "golden_events", "run_float64"]

RawModule = Callable[[Tensor, Tensor, Tensor], Sequence[Tensor]]

GOLDEN_EVENTS: Final = 32
GOLDEN_SEED: Final = 20260101
CLEAN: Final = (0, 29, 30, 31)
"""Events without a dead channel, for which it does not matter how those are filled."""
HARMLESS: Final = 100.0


def golden_events(unfilled: NDArray[np.bool_] | None = None) -> GoldenEvents:
    """Return events without outputs.

    ``unfilled`` (4760,) are sensors whose value an inpainter passes on even when they are dead:
    theirs is then a finite one, with which outputs can be compared.
    """
    npho, time, dead = _simulated(dead_fraction_max=0.08)
    random = np.random.default_rng(GOLDEN_SEED)
    dead[1, :64] = True  # four neighbouring boards
    for row, value in ((2, np.nan), (3, np.inf), (4, -np.inf), (5, 1e10), (6, -500.0)):
        npho[row, random.integers(0, N_SENSORS, 40)] = value
    for row, value in ((7, np.nan), (8, np.inf), (9, -1e10), (10, 1.0)):
        time[row, random.integers(0, N_SENSORS, 40)] = value
    clean = _simulated(dead_fraction_min=0.0, dead_fraction_max=0.0, dead_board_probability=0.0)
    for array, replacement in zip((npho, time, dead), clean, strict=True):
        array[list(CLEAN)] = replacement[list(CLEAN)]
    if unfilled is not None:
        with np.errstate(invalid="ignore"):
            spoiled = unfilled & ~(np.isfinite(npho) & (npho <= INVALID_ABOVE))
        npho[spoiled], dead[spoiled] = HARMLESS, True
    return GoldenEvents(npho, time, dead, {})


def _simulated(
    **changes: Any,
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]:
    config = SimulationConfig(seed=GOLDEN_SEED, **changes)
    events = next(iter(simulate(config, BLOCK_EVENTS, threads=1)))
    npho, time = (
        np.array(events[name][:GOLDEN_EVENTS], dtype=np.float32)
        for name in ("npho", "relative_time")
    )
    return npho, time, np.array(events["dead"][:GOLDEN_EVENTS], dtype=bool)


def run_float64(
    module: RawModule, events: GoldenEvents, names: Sequence[str]
) -> dict[str, NDArray[np.float64]]:
    """Return what a module in float64 makes of raw events, by the names of its outputs."""
    with torch.inference_mode():
        outputs = module(
            torch.from_numpy(events.npho).double(),
            torch.from_numpy(events.time).double(),
            torch.from_numpy(events.dead),
        )
    return {name: value.numpy() for name, value in zip(names, outputs, strict=True)}
