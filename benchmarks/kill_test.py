"""Kill inference at random moments, many times, and see that nothing is lost or changed.

A child process infers a file of simulated events and is killed (SIGKILL) after a random time; then
the same work is started again, until a run is let finish.  Its result is compared with that of an
uninterrupted run, byte by byte in every branch.  Segments are made short, so that kills hit the
writing of rows, of the ledger and of the final file as well as reading and inferring.

    python benchmarks/kill_test.py [--kills 300] [--json OUT.json]
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import uproot
from machine import write

import xec_deploy
import xec_deploy.inference.spool
from xec_deploy import infer
from xec_deploy.bundle import shipped_bundle
from xec_deploy.simulation import SimulationConfig, write_simulation

# Children are forked from a process that has imported everything and started no thread.
FORK = multiprocessing.get_context("fork")
SEGMENT_SECONDS = 0.02
FINISH_AFTER = 8
"""Kills of one result on the average before a run is let finish."""


def work(source: Path, output: Path, keep: tuple[str, ...]) -> None:
    """Infer in a child process."""
    sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115 - until the process ends
    xec_deploy.inference.spool.SEGMENT_SECONDS = SEGMENT_SECONDS  # type: ignore[misc]
    infer(
        shipped_bundle(), source, output, batch=8, sessions=1, threads=1, keep=keep,
        backend="onnxruntime",
    )  # fmt: skip


def start(source: Path, output: Path, keep: tuple[str, ...]) -> Any:
    """Start a child."""
    process = FORK.Process(target=work, args=(source, output, keep))
    process.start()
    return process


def branches(path: Path) -> dict[str, bytes]:
    """Read the values of all branches."""
    with uproot.open({path: "xec"}) as tree:
        return {name: tree[name].array(library="np").tobytes() for name in tree.keys()}  # noqa: SIM118


def state(output: Path) -> str:
    """Say what a killed process has left."""
    part = output.with_name(output.name + ".part")
    if output.exists():
        return "named, part folder left" if part.exists() else "named"
    if (part / "result.root.part").exists() or (part / "result.root").exists():
        return "putting the file together"
    ledger = next(iter(part.glob("*.ledger")), None)
    if ledger is None:
        return "nothing yet" if not part.exists() else "part folder"
    lines = ledger.read_bytes().split(b"\n")
    if lines[-1]:
        return "half a line in the ledger"
    return "rows" if len(lines) > 2 else "ledger begun"


def main() -> int:
    """Print what was survived; exit code 1 if values differ."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=300)
    parser.add_argument("--events", type=int, default=1500)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    rng = random.Random(arguments.seed)  # noqa: S311 - moments, no secrets
    log: dict[str, Any] = {"kills": 0, "results": 0, "equal": 0, "runs": 0}
    states: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        source, expected = Path(folder) / "in.root", Path(folder) / "expected.root"
        write_simulation(source, SimulationConfig(seed=3), arguments.events, threads=1)
        keep = ("uvwTruth", "relative_time")
        begin = time.perf_counter()
        process = start(source, expected, keep)
        process.join()
        whole = time.perf_counter() - begin
        reference = branches(expected)
        while log["kills"] < arguments.kills:
            output = Path(folder) / f"out{log['results']}.root"
            while True:
                log["runs"] += 1
                let_finish = rng.random() < 1 / FINISH_AFTER
                process = start(source, output, keep)
                if not let_finish:
                    process.join(rng.uniform(0.0, whole))
                    if process.exitcode is None:
                        os.kill(process.pid, signal.SIGKILL)
                        log["kills"] += 1
                        process.join()
                        states[state(output)] += 1
                        continue
                process.join()
                if process.exitcode != 0:
                    print(f"run {log['runs']} ended with exit code {process.exitcode}")
                    return 1
                break
            log["results"] += 1
            if branches(output) != reference:
                print(f"result {log['results']} differs")
                return 1
            log["equal"] += 1
            left = [path.name for path in Path(folder).glob("out*.part")]
            if left:
                print(f"left behind: {left}")
                return 1
            output.unlink()
    log["states when killed"] = dict(states.most_common())
    print(f"{arguments.events} events, uninterrupted in {whole:.2f} s")
    print(f"{log['kills']} kills in {log['runs']} runs, {log['results']} results, all equal")
    for name, count in states.most_common():
        print(f"  {count:4d} {name}")
    if arguments.json:
        log |= {
            "events": arguments.events,
            "uninterrupted_s": round(whole, 2),
            "segment_s": SEGMENT_SECONDS,
        }
        write(arguments.json, log, "numpy", "uproot", "onnxruntime")
    return 0


if __name__ == "__main__":
    sys.exit(main())
