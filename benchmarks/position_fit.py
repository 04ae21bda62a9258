"""The conventional reconstruction in C++: speed by part, and parity with the experiment's macro.

Prints JSON, and writes it with ``--json FILE``; ``docs/reconstruction.md`` holds the figures.
Times are CPU seconds of this process, so that other work on the machine does not count; events
per second on two threads are by the clock.  The parts come from the C++ benchmark, which is built
in a temporary folder unless ``--executable`` names it.  Parity needs the folder of reference data
(``--reference``).

    python benchmarks/position_fit.py [--json benchmarks/results/position_fit.json]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from machine import write

from xec_deploy import cpp
from xec_deploy.detector import load_geometry
from xec_deploy.simulation import SimulationConfig, simulate

ROOT = Path(__file__).resolve().parents[1]
MACRO_EVENTS_PER_SECOND = 27.0
"""The experiment's compiled macro on one core, as measured for the project."""
METHODS = cpp.DEAD_METHODS


def build(folder: str) -> Path:
    """Build the C++ benchmark; return its path."""
    options = ["-G", "Ninja", "-DXEC_BUILD_TESTS=ON", f"-DPython_EXECUTABLE={sys.executable}"]
    subprocess.run(["cmake", "-S", ROOT, "-B", folder, *options], check=True, stdout=sys.stderr)  # noqa: S603, S607
    target = ["--target", "xec_reconstruction_benchmark"]
    subprocess.run(["cmake", "--build", folder, *target], check=True, stdout=sys.stderr)  # noqa: S603, S607
    return Path(folder) / "cpp_bridge" / "tests" / "xec_reconstruction_benchmark"


def rate(
    events: int, work: Callable[[], Any], clock: Callable[[], float], rounds: int = 5
) -> float:
    """Return events per second, the best of some rounds."""
    seconds = []
    for _ in range(rounds):
        start = clock()
        work()
        seconds.append(clock() - start)
    return events / min(seconds)


def speed() -> dict[str, float]:
    """Events per second on simulated events, through Python."""
    blocks = list(simulate(SimulationConfig(seed=11), 500, threads=1))
    npho, times, dead = (
        np.concatenate([block[name] for block in blocks])
        for name in ("npho", "relative_time", "dead")
    )
    count = len(npho)
    fit = cpp.fit_position(npho, dead)
    cpu, wall = time.process_time, time.perf_counter
    found = {
        "fit": rate(count, lambda: cpp.fit_position(npho, dead, fit.uvw), cpu),
        "fit_from_brightest_region": rate(count, lambda: cpp.fit_position(npho, dead), cpu),
        "reconstruct": rate(count, lambda: cpp.reconstruct(npho, times, dead), cpu),
    }
    for method in METHODS:
        found[f"predict_dead_{method}"] = rate(
            count, lambda method=method: cpp.predict_dead(npho, dead, fit, method=method), cpu
        )
    for threads in (1, 2):
        found[f"fit_by_the_clock_threads_{threads}"] = rate(
            count, lambda threads=threads: cpp.fit_position(npho, dead, threads=threads), wall
        )
    return found


def parity(reference: Path) -> dict[str, Any]:
    """Compare with the macro's results on the reference events."""
    geometry = load_geometry(reference / "sensor_table.csv")
    with np.load(reference / "localfit" / "localfit.npz") as arrays:
        macro = dict(arrays)
    fit = cpp.fit_position(macro["npho"], macro["dead"], macro["uvw_start"], geometry)
    deviation = np.abs(fit.uvw - macro["uvw_fit"]) * 10
    near = (deviation < [0.05, 0.05, 0.2]).all(axis=1)
    relative = fit.chi2_ndf / macro["fit_chisq_ndf"] - 1
    event, sensor = macro["dead_event_idx"], macro["dead_sensor"]
    predicted = cpp.predict_dead(macro["npho"], macro["dead"], fit, geometry)[event, sensor]
    expected = macro["dead_npho_pred"]
    compared = near[event] & (expected > 0)
    difference = np.abs(predicted[compared] / expected[compared] - 1)
    return {
        "events": len(fit),
        "stage1_largest_mm": float(np.abs(fit.uvw_stage1 - macro["uvw_stage1"]).max() * 10),
        "same_sensors": int((fit.n_sensors == macro["n_sensors"]).sum()),
        "fit_within_tolerance": int(near.sum()),
        "median_deviation_mm": np.median(deviation[near], axis=0).tolist(),
        "chi2_of_the_others_relative": [float(f(relative[~near])) for f in (np.min, np.max)],
        "dead_channels_compared": int(compared.sum()),
        "dead_channels_within_half_a_per_cent": int((difference < 5e-3).sum()),
        "dead_channels_beyond_photons": expected[compared][difference >= 5e-3].tolist(),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="file to write")
    parser.add_argument("--executable", type=Path, help="xec_reconstruction_benchmark, if built")
    parser.add_argument("--reference", type=Path, default=ROOT.parent / "shared" / "reference")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        program = options.executable or build(folder)
        done = subprocess.run([program, "parts"], check=True, capture_output=True, text=True)  # noqa: S603
    parts = json.loads(done.stdout)
    rates = speed()
    result = {
        "events_per_second": rates,
        "times_the_macro": rates["fit"] / MACRO_EVENTS_PER_SECOND,
        "parts": parts,
        "share_of_the_bound": parts["local_fit_bound_microseconds"]
        / parts["microseconds"]["local_fit"],
        "parity": parity(options.reference) if options.reference.is_dir() else None,
    }
    print(json.dumps(result, indent=1))
    if options.json:
        write(options.json, result, "numpy")


if __name__ == "__main__":
    main()
