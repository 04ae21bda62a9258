"""Memory of a long inference over an endless input.

One file of many events first, then small files without end, until the time is up; the process is
then told to stop by SIGTERM.  Resident memory is sampled every second.

    python benchmarks/memory.py [--minutes 5] [--json OUT.json] [--plot OUT.png]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from xec_deploy.bundle import shipped_bundle
from xec_deploy.events import EventWriter
from xec_deploy.simulation import SimulationConfig, simulate

BLOCK = 2000


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


def resident(pid: int) -> float:
    """Resident memory of a process [MB]."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def main() -> None:
    """Print a summary; write the series and a plot if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bundle", type=Path, default=shipped_bundle())
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--events", type=int, default=100_000, help="of the large file")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path)
    arguments = parser.parse_args()
    series: list[tuple[float, float]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_inputs(folder, arguments.events, int(arguments.minutes * 200))
        command = [
            *(str(Path(sys.executable).parent / "xec-deploy"), "infer", str(arguments.bundle)),
            *(str(folder / "*.root"), "-o", str(folder / "out"), "--json"),
        ]
        start = time.monotonic()
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)  # noqa: S603 - our own command
        while process.poll() is None and time.monotonic() - start < 60 * arguments.minutes:
            series.append((round(time.monotonic() - start, 1), round(resident(process.pid), 1)))
            time.sleep(1.0)
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate()
        summary = json.loads(output)
    entries = sum(file["entries"] for file in summary["files"])
    done = [file for file in summary["files"] if file["outcome"] == "done"]
    seconds = np.array([second for second, _ in series])
    memory = np.array([size for _, size in series])
    quarters = [
        float(np.median(memory[(seconds > start) & (seconds <= start + seconds[-1] / 4)]))
        for start in np.linspace(0.0, seconds[-1], 5)[:-1]
    ]
    report: dict[str, Any] = {
        "program": "benchmarks/memory.py",
        "exit_code": process.returncode,
        "minutes": round(seconds[-1] / 60, 1),
        "files_done": len(done),
        "events": entries,
        "events_of_the_large_file": arguments.events,
        "largest_MB": float(memory.max()),
        "median_MB_of_each_quarter": quarters,
        "engine": summary["engine"],
        "stages_s": summary["stages"],
        "versions": {"python": platform.python_version(), "numpy": np.__version__},
        "series_s_MB": series,
    }
    for key, value in report.items():
        if key != "series_s_MB":
            print(f"{key:34} {value}")
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(report) + "\n")
    if arguments.plot:
        plot(seconds, memory, arguments.plot)


def plot(seconds: np.ndarray[Any, Any], memory: np.ndarray[Any, Any], path: Path) -> None:
    """Draw memory over time."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - only where a plot is wanted

    figure = Figure(figsize=(7, 3), layout="constrained")
    axes = figure.subplots()
    axes.plot(seconds / 60, memory, color="#1f4e79")
    axes.set(xlabel="time [min]", ylabel="resident memory [MB]", ylim=(0, 1.3 * memory.max()))
    axes.spines[["top", "right"]].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    main()
