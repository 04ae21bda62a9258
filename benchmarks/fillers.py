"""What the filler graphs predict for dead channels, and what they cost.

Events are simulated without dead channels; one in twenty is then made dead.  Given are half the
central 68 % of (prediction - truth) in units of the channel's photon statistics, bias and root mean
square error in photons, by the light around, and CPU milliseconds an event of the graph alone.

    python benchmarks/fillers.py --json benchmarks/results/fillers.json
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from machine import write

from xec_deploy.detector import constants as c
from xec_deploy.inpaint import FILLERS, filler_graph
from xec_deploy.simulation import SimulationConfig, simulate

BATCH = 16
DEAD = 0.05
NOISE = 10.0
LIGHT = (100.0, 1000.0, np.inf)


def session(name: str) -> onnxruntime.InferenceSession:
    """Open a filler's graph on one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    graph = filler_graph(name).SerializeToString()  # type: ignore[arg-type]
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def events(count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return npho, time and the channels that are made dead."""
    config = SimulationConfig(
        seed=31, dead_fraction_min=0.0, dead_fraction_max=0.0, dead_board_probability=0.0
    )
    blocks = list(simulate(config, count, threads=1))
    npho, times = (np.concatenate([b[name] for b in blocks]) for name in ("npho", "relative_time"))
    return npho, times, np.random.default_rng(32).random(npho.shape) < DEAD


def figures(error: np.ndarray, scale: np.ndarray) -> dict[str, float]:
    """Summarise errors [photons]."""
    low, high = np.quantile(error / scale, [0.1587, 0.8413])
    return {
        "channels": len(error),
        "pull68": float(high - low) / 2,
        "bias": float(error.mean()),
        "rms": float(np.sqrt((error**2).mean())),
    }


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--events", type=int, default=500)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    npho, times, dead = events(options.events)
    filled, cost = {}, {}
    for name in FILLERS:
        engine = session(name)
        parts, start = [], time.process_time()
        for i in range(0, len(npho), BATCH):
            rows = slice(i, i + BATCH)
            inputs = {"npho": npho[rows], "time": times[rows], "dead": dead[rows]}
            parts.append(engine.run(["npho_filled"], inputs)[0])
        cost[name] = 1e3 * (time.process_time() - start) / len(npho)
        filled[name] = np.concatenate(parts)
    mppc = np.arange(c.N_SENSORS) < c.N_MPPC
    efficiency = np.where(mppc, c.MPPC_PDE, c.PMT_QE)
    scale = np.sqrt((np.maximum(npho, 0) + NOISE) / efficiency)
    rows: dict[str, Any] = {}
    for sensors, kind in (("MPPC", mppc), ("PMT", ~mppc)):
        low = -np.inf
        for high in LIGHT:
            around = filled["neighbours"]
            chosen = dead & kind & (around >= low) & (around < high)
            rows[f"{sensors} {max(low, 0):g}-{high:g}"] = {
                name: figures((values - npho)[chosen].astype(np.float64), scale[chosen])
                for name, values in filled.items()
            }
            low = high
    results = {
        "threads": 1,
        "events": len(npho),
        "dead": DEAD,
        "cpu_milliseconds_per_event": cost,
        "channels": rows,
    }
    if options.json:
        write(options.json, results, "onnxruntime")
    print("| photons around | " + " | ".join(FILLERS) + " |")
    for name, row in rows.items():
        cells = (f"{f['pull68']:.2f}; {f['bias']:.1f}; {f['rms']:.0f}" for f in row.values())
        print(f"| {name} | {' | '.join(cells)} |")
    print("CPU ms an event:", {name: round(value, 2) for name, value in cost.items()})


if __name__ == "__main__":
    main()
