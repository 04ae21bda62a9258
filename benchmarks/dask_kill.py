"""Kill workers of a Dask cluster while they infer, and compare with a run on one machine.

python benchmarks/dask_kill.py [--kills 2] [--json OUT.json]
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import uproot
from machine import write

from xec_deploy.bundle import shipped_bundle
from xec_deploy.simulation import SimulationConfig, write_simulation

FILES = 4
COMMAND = (str(Path(sys.executable).parent / "xec-deploy"), "infer", str(shipped_bundle()))
ENGINE = ("--backend", "openvino", "--batch", "16")
"""Left open, the two runs would measure which is faster, and may not agree."""
ROWS_AT_LEAST = 1
"""Bytes of rows that a worker has written when it is killed: it is in the middle of a file."""


def holders(folder: Path) -> set[int]:
    """Return the processes that have rows in a part folder: locks name them."""
    found = set()
    for lock in folder.glob("*.part/*.lock"):
        rows = lock.with_suffix(".rows")
        if not rows.is_file() or rows.stat().st_size < ROWS_AT_LEAST:
            continue
        match = re.match(r"process (\d+) on", lock.read_text(errors="replace"))
        if match:
            found.add(int(match[1]))
    return found


def kill_workers(folder: Path, process: subprocess.Popen[Any], most: int) -> list[int]:
    """Kill whoever is at work until there were enough, or the command ends."""
    killed: list[int] = []
    while process.poll() is None:
        if len(killed) < most:
            for worker in sorted(holders(folder) - set(killed))[:1]:
                os.kill(worker, signal.SIGKILL)
                killed.append(worker)
        time.sleep(0.05)
    return killed


def values(path: Path) -> dict[str, bytes]:
    """Read the bytes of all branches."""
    with uproot.open({path: "xec"}) as tree:
        return {name: branch.array(library="np").tobytes() for name, branch in tree.items()}


def main() -> int:
    """Print what the user sees; exit code 1 if values differ."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=5000, help="of each file")
    parser.add_argument("--kills", type=int, default=2)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for number in range(FILES):
            config = SimulationConfig(seed=number, first_run=430000 + number)
            write_simulation(folder / f"run{number}.root", config, arguments.events, threads=1)
        inputs = sorted(path.name for path in folder.glob("run*.root"))
        call = [*COMMAND, *inputs, *ENGINE]
        subprocess.run([*call, "-o", "local", "--json"], cwd=name, check=True, capture_output=True)  # noqa: S603 - our own command
        process = subprocess.Popen(  # noqa: S603 - our own command
            [*call, "-o", "results", "--dask", "local:2"],
            cwd=name,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        killed = kill_workers(folder / "results", process, arguments.kills)
        output, _ = process.communicate()
        names = [f"{Path(path).stem}_xec.root" for path in inputs]
        same = [values(folder / "results" / n) == values(folder / "local" / n) for n in names]
        left = [path.name for path in (folder / "results").iterdir() if path.suffix == ".part"]
    print("$ xec-deploy infer compact.xec run*.root -o results --dask local:2")
    print(output, end="")
    print(f"workers killed: {len(killed)}; files equal in every byte: {sum(same)} of {len(same)}")
    if arguments.json:
        report = {
            "kills": len(killed),
            "files": len(same),
            "equal": sum(same),
            "exit_code": process.returncode,
            "events_a_file": arguments.events,
            "left_behind": left,
            "output": output.splitlines(),
        }
        write(arguments.json, report, "distributed", "openvino")
    return 0 if all(same) and process.returncode == 0 and not left else 1


if __name__ == "__main__":
    sys.exit(main())
