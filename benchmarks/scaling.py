"""Two processes beside one: how the rate grows with cores, threads and processes.

Four files of simulated events are inferred, in turns, by one process of one thread, one process of
two threads, two processes of one thread that share the files out by hand, and Dask clusters of one
and of two processes.  What a process needs to begin is not counted: the rate is that of all events
after each process has inferred a first, small file.  The processor is shared by what is measured
alone; efficiency is the rate of two threads or processes over twice that of one.

    python benchmarks/scaling.py [--bundle large.xec] [--events 4000] [--json OUT.json]
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import tempfile
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from machine import write

from xec_deploy import infer, open_bundle
from xec_deploy.bundle import shipped_bundle
from xec_deploy.cluster import infer_on_cluster
from xec_deploy.cluster.connect import connect
from xec_deploy.events import EventWriter
from xec_deploy.simulation import SimulationConfig, simulate

FILES = 4
SPAWN = multiprocessing.get_context("spawn")
"""Processes of their own, as two commands would be."""
ONE = "one process, one thread"


def write_files(folder: Path, events: int) -> list[str]:
    """Write the files to infer, and a small one to begin with."""
    blocks = list(simulate(SimulationConfig(seed=1), max(events // FILES, 16), threads=1))
    sample = {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}
    paths = [folder / f"run{number}.root" for number in range(FILES)]
    for number, path in enumerate([folder / "first.root", *paths]):
        rows = {name: sample[name] for name in ("run", "event", "npho", "relative_time")}
        rows["run"] = rows["run"] + number
        with EventWriter(path) as writer:
            writer.extend({name: values[: None if number else 16] for name, values in rows.items()})
            writer.commit()
    return [str(path) for path in paths]


def serve(channel: Connection, bundle: str, options: dict[str, Any]) -> None:
    """Infer what is asked for, in a process that has loaded the engine."""
    opened = open_bundle(bundle)
    while (task := channel.recv()) is not None:
        inputs, output = task
        infer(opened, inputs, output, force=True, **options)
        channel.send(None)


class Processes:
    """Some processes that infer files, each with an engine of so many threads."""

    def __init__(self, number: int, bundle: str, options: dict[str, Any]) -> None:
        self._channels: list[Connection] = []
        self._processes = []
        for _ in range(number):
            here, there = SPAWN.Pipe()
            process = SPAWN.Process(target=serve, args=(there, bundle, options), daemon=True)
            process.start()
            self._channels.append(here)
            self._processes.append(process)

    def run(self, inputs: Sequence[str], output: Path) -> None:
        """Infer the files, shared out in turn, and wait."""
        number = len(self._channels)
        for index, channel in enumerate(self._channels):
            channel.send((list(inputs[index::number]), str(output / str(index))))
        for channel in self._channels:
            channel.recv()

    def warm_up(self, first: str, output: Path) -> None:
        """Let every process infer a file."""
        self.run([first] * len(self._channels), output)

    def close(self) -> None:
        """End the processes."""
        for channel, process in zip(self._channels, self._processes, strict=True):
            channel.send(None)
            process.join()


def measure(ways: dict[str, Callable[[Path], Any]], rounds: int) -> dict[str, list[float]]:
    """Return the seconds of each round, in which all ways take turns."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds):
        for name, way in ways.items():
            with tempfile.TemporaryDirectory() as folder:
                start = time.perf_counter()
                way(Path(folder) / str(number))
                seconds[name].append(time.perf_counter() - start)
    return seconds


def main() -> None:
    """Print a table, and write JSON if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bundle", type=Path, default=shipped_bundle())
    parser.add_argument("--events", type=int, default=4000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--backend", default="openvino")
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    common = {name: getattr(arguments, name) for name in ("backend", "precision", "batch")}
    bundle = str(arguments.bundle)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paths = write_files(folder, arguments.events)
        first = str(folder / "first.root")
        one = {"sessions": 1, "threads": 1}
        processes = {
            ONE: Processes(1, bundle, {**common, **one}),
            "one process, two threads": Processes(1, bundle, {**common, **one, "threads": 2}),
            "one process, two sessions": Processes(1, bundle, {**common, **one, "sessions": 2}),
            "two processes": Processes(2, bundle, {**common, **one}),
        }
        for number, some in enumerate(processes.values()):
            some.warm_up(first, folder / f"first{number}")
        ways: dict[str, Callable[[Path], Any]] = {
            name: lambda output, some=some: some.run(paths, output)
            for name, some in processes.items()
        }
        with connect("local:1") as (single, _), connect("local:2") as (double, _):
            for number, client in enumerate((single, double), start=1):
                address = client.cluster.scheduler_address
                call = {"where": address, "bundle": bundle, **common, **one}
                infer_on_cluster(inputs=first, output=folder / f"dask{number}", **call)
                ways[f"--dask local:{number}"] = lambda output, call=call: infer_on_cluster(
                    inputs=paths, output=output, **call
                )
            seconds = measure(ways, arguments.rounds)
        for some in processes.values():
            some.close()
    events = FILES * max(arguments.events // FILES, 16)
    best = {name: events / min(found) for name, found in seconds.items()}
    rows = [
        {
            "way": name,
            "events_per_s": round(rate, 1),
            "of_one_thread": round(rate / best[ONE], 2),
            "efficiency": round(
                rate / best[ONE] / (1 if name in {ONE, "--dask local:1"} else 2), 2
            ),
            "seconds": [round(found, 2) for found in seconds[name]],
        }
        for name, rate in best.items()
    ]
    for row in rows:
        print(json.dumps(row))
    if arguments.json:
        settings = {"events": events, "files": FILES, "bundle": open_bundle(bundle).manifest.name}
        report = {"settings": {**settings, **common}, "rows": rows}
        write(arguments.json, report, "numpy", "openvino", "onnxruntime", "distributed")


if __name__ == "__main__":
    main()
