"""Memory of a long inference over an endless input.

One file of many events first, then small files without end, until the time is up; the process is
then told to stop by SIGTERM.  Its memory is sampled every second: what is its own (anonymous), and
what lies in files (libraries, weights that are mapped).  Where the machine was stopped meanwhile,
for measurements that need it alone, no samples are taken and the time does not count.

    python benchmarks/memory.py [--minutes 60] [--json OUT.json] [--plot OUT.png]

Ctrl-C ends it before its time.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from machine import write
from numpy.typing import NDArray

from xec_deploy.bundle import shipped_bundle
from xec_deploy.events import EventWriter
from xec_deploy.simulation import SimulationConfig, simulate

BLOCK = 2000
"""Events of a small file."""
FILES_A_MINUTE = 200
"""More than are inferred."""
PAUSE_S = 5.0
"""A longer gap between two samples: the processes were stopped."""
WARM_MINUTES = 5.0
"""Left out of the slope: engine, buffers and the file that is being written come one by one."""
PARTS = ("resident", "anonymous", "in files")
Samples = NDArray[np.float64]


def write_inputs(folder: Path, events: int, files: int) -> None:
    """Write one large file, and links to a small one."""
    blocks = list(simulate(SimulationConfig(seed=1), BLOCK, threads=1))
    sample = {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}
    rows = {name: sample[name] for name in ("run", "event", "npho", "relative_time")}
    for name, count in (("a_large", events), ("b_small", BLOCK)):
        with EventWriter(folder / f"{name}.root") as writer:
            for first in range(0, count, BLOCK):
                event = np.arange(first, first + BLOCK)
                writer.extend({**rows, "event": event})
            writer.commit()
    for number in range(files):
        os.link(folder / "b_small.root", folder / f"c{number:06d}.root")


def memory_of(pid: int) -> tuple[float, float, float]:
    """Return the `PARTS` of a process's memory [MB]."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
    sizes = {line.split(":")[0]: line.split()[1] for line in text.splitlines()[1:]}
    resident, anonymous = (float(sizes[name]) * 1.024e-3 for name in ("Rss", "Anonymous"))
    return resident, anonymous, resident - anonymous


def watch(process: subprocess.Popen[bytes], minutes: float) -> Samples:
    """Sample until the time is up: (n, 4) seconds at work, and the `PARTS` [MB]."""
    samples: list[tuple[float, ...]] = []
    begin = last = time.monotonic()
    stopped = 0.0
    while process.poll() is None and last - begin < 60 * minutes:
        try:
            time.sleep(1.0)
        except KeyboardInterrupt:
            break
        now = time.monotonic()
        if now - last > PAUSE_S:
            stopped += now - last
        try:
            found = memory_of(process.pid)
        except (FileNotFoundError, ProcessLookupError, IndexError):
            break
        samples.append((now - begin - stopped, *found))
        last = now
    return np.array(samples)


def slope(minutes: NDArray[np.float64], size: NDArray[np.float64]) -> dict[str, float]:
    """Fit a line to medians of a minute: MB an hour, and its standard error from their scatter."""
    edges = np.arange(np.floor(minutes[0]), minutes[-1], 1.0)
    groups = [size[(minutes >= edge) & (minutes < edge + 1)] for edge in edges]
    points = [
        (edge, np.median(group)) for edge, group in zip(edges, groups, strict=True) if len(group)
    ]
    if len(points) < 4:
        return {"MB_an_hour": float("nan"), "error": float("nan")}
    x, y = np.array(points).T
    fit, covariance = np.polyfit(x / 60, y, 1, cov=True)
    return {"MB_an_hour": round(fit[0], 2), "error": round(float(np.sqrt(covariance[0, 0])), 2)}


def summarise(samples: Samples) -> dict[str, Any]:
    """Return medians of quarters, extremes and slopes."""
    minutes = samples[:, 0] / 60
    warm = minutes >= min(WARM_MINUTES, minutes[-1] / 4)
    quarter = np.minimum((4 * minutes / minutes[-1]).astype(int), 3)
    return {
        "minutes": round(float(minutes[-1]), 1),
        "largest_MB": round(float(samples[:, 1].max()), 1),
        "median_MB_of_each_quarter": {
            name: [round(float(np.median(samples[quarter == q, column])), 1) for q in range(4)]
            for column, name in enumerate(PARTS, start=1)
        },
        "slope_after_minutes": round(float(minutes[warm][0]), 1),
        "slope": {
            name: slope(minutes[warm], samples[warm, column])
            for column, name in enumerate(PARTS, start=1)
        },
    }


def main() -> None:
    """Print a summary; write the series and a plot if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bundle", type=Path, default=shipped_bundle())
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--events", type=int, default=100_000, help="of the large file")
    parser.add_argument("--backend", default="auto")
    parser.add_argument("--threads", type=int, default=1, help="of the engine")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_inputs(folder, arguments.events, int(arguments.minutes * FILES_A_MINUTE))
        command = [
            *(str(Path(sys.executable).parent / "xec-deploy"), "infer", str(arguments.bundle)),
            *(str(folder / "*.root"), "-o", str(folder / "out"), "--json"),
            *("--backend", arguments.backend),
            *("--sessions", "1", "--threads", str(arguments.threads)),
        ]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)  # noqa: S603 - our own command
        samples = watch(process, arguments.minutes)
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate()
        summary = json.loads(output)
    report: dict[str, Any] = {
        "exit_code": process.returncode,
        **summarise(samples),
        "files_done": sum(file["outcome"] == "done" for file in summary["files"]),
        "events": sum(file["entries"] for file in summary["files"]),
        "events_of_the_large_file": arguments.events,
        "events_of_a_small_file": BLOCK,
        "engine": summary["engine"],
    }
    print(json.dumps(report, indent=1))
    if arguments.json:
        series = [[round(float(value), 1) for value in sample] for sample in samples[::10]]
        report["series"] = {
            "columns": ["seconds", *(f"{name} MB" for name in PARTS)],
            "rows": series,
        }
        write(arguments.json, report, "numpy", "uproot", "onnxruntime", "openvino")
    if arguments.plot:
        plot(samples, arguments.plot)


def plot(samples: Samples, path: Path) -> None:
    """Draw memory over time."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - only where a plot is wanted

    figure = Figure(figsize=(7, 3), layout="constrained")
    axes = figure.subplots()
    for column, name in enumerate(PARTS, start=1):
        axes.plot(samples[:, 0] / 60, samples[:, column], label=name)
    axes.set(xlabel="time [min]", ylabel="memory [MB]", ylim=(0, 1.3 * samples[:, 1].max()))
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, ncols=len(PARTS))
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    main()
