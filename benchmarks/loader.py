"""Events a second of the training data alone, beside a plain uproot loop.

Simulates files, writes them with each codec, and reads them: by a loop over ``uproot.iterate``
that makes tensors of NumPy arrays (the plain way: one process, in the order of the files), and by
``EventStream`` for several numbers of workers, shuffled as in training and in order as in
evaluation.  Each way reads all events ``--repeat`` times after a first time that fills the page
cache; the best counts.  Besides wall time, which suffers from other users of the machine, the CPU
time of all processes is given.  ``docs/data.md`` holds the figures.

    python benchmarks/loader.py [--events 16000] [--files 4] [--workers 0 1 2] [--json OUT.json]
"""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import uproot
from machine import write

from xec_deploy.events import EventWriter
from xec_deploy.simulation import SimulationConfig, simulate
from xec_deploy.simulation.write import TRUTH_COLUMNS
from xec_train.config.regressor import RegressorData
from xec_train.data import EventStream

CODECS = ("LZ4", "ZSTD", "none")
TRUTH = {"energy": "energyTruth", "angle": "emiAng", "timing": "timeTruth", "uvwFI": "uvwTruth"}
EVENT_MB = 4760 * 8 / 1e6


def write_files(folder: Path, codecs: tuple[str, ...], events: int, files: int) -> None:
    """Simulate a sample and write it once for each codec."""
    each = events // files
    for number in range(files):
        blocks = list(simulate(SimulationConfig(seed=number + 1), each, threads=1))
        sample = {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}
        for codec in codecs:
            path = folder / f"{codec}_{number}.root"
            with EventWriter(path, TRUTH_COLUMNS, compression=codec) as writer:
                writer.extend(sample)
                writer.commit()


def plain(paths: list[str], batch_size: int) -> Iterator[int]:
    """Iterate over chunks as NumPy arrays, make tensors, cut batches."""
    names = ["npho", "relative_time", "dead", "run", "event", *TRUTH.values()]
    for chunk in uproot.iterate(
        [f"{path}:tree" for path in paths], names, step_size=8 * batch_size, library="np"
    ):
        x = np.stack([chunk["npho"], chunk["relative_time"]], axis=-1).astype(np.float32)
        dead = chunk["dead"] | ~(chunk["npho"] <= 9e9)
        tensors = [torch.from_numpy(x), torch.from_numpy(dead)]
        tensors += [torch.from_numpy(chunk[name].astype(np.float32)) for name in TRUTH.values()]
        for start in range(0, len(x), batch_size):
            batch = [tensor[start : start + batch_size] for tensor in tensors]
            yield len(batch[0])


def measure(epoch: Callable[[], Iterator[int]], repeat: int) -> dict[str, float]:
    """Return the best rate, and the CPU time that goes with it."""
    best = {"events_per_s": 0.0}
    for attempt in range(repeat + 1):
        cpu, wall = cpu_seconds(), time.perf_counter()
        events = sum(epoch())
        wall, cpu = time.perf_counter() - wall, cpu_seconds() - cpu
        if attempt and events / wall > best["events_per_s"]:
            best = {
                "events": events,
                "events_per_s": round(events / wall),
                "MB_per_s": round(events * EVENT_MB / wall),
                "cpu_us_per_event": round(cpu / events * 1e6, 1),
            }
    return best


def cpu_seconds() -> float:
    """CPU time of this process; that of running workers is read from the system."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    total = usage.ru_utime + usage.ru_stime
    children = Path(f"/proc/self/task/{os.getpid()}/children")
    if children.is_file():
        ticks = os.sysconf("SC_CLK_TCK")
        for child in children.read_text().split():
            fields = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()
            total += (int(fields[11]) + int(fields[12])) / ticks
    return total


def stream_epochs(
    paths: list[str], arguments: argparse.Namespace, *, workers: int, shuffle: bool
) -> dict[str, float]:
    """Measure an ``EventStream``."""
    config = RegressorData(
        train_path=tuple(paths),
        val_path=tuple(paths),
        batch_size=arguments.batch_size,
        num_workers=workers,
        memory_mb=arguments.memory_mb,
    )
    stream = EventStream(
        paths, config, tuple(TRUTH), shuffle=shuffle, pin_memory=torch.cuda.is_available()
    )
    result = measure(lambda: (len(batch) for batch in stream), arguments.repeat)
    stream.close()
    return result


def main() -> None:
    """Print a table, and write JSON if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=16_000)
    parser.add_argument("--files", type=int, default=4)
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--memory-mb", type=int, default=1024)
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--codecs", nargs="+", default=CODECS, choices=CODECS)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        write_files(Path(folder), tuple(arguments.codecs), arguments.events, arguments.files)
        for codec in arguments.codecs:
            paths = [f"{folder}/{codec}_{number}.root" for number in range(arguments.files)]
            size = sum(Path(path).stat().st_size for path in paths) / arguments.events

            def row(way: str, workers: int, figures: dict[str, float], codec: str = codec) -> None:
                rows.append({"codec": codec, "way": way, "workers": workers, **figures})
                print(
                    f"{codec:5} {way:18} {workers} workers: {figures['events_per_s']:7.0f} events/s"
                    f" {figures['cpu_us_per_event']:6.1f} us CPU an event",
                    flush=True,
                )

            print(f"{codec}: {size / 1e3:.1f} kB an event on disk")
            row(
                "plain uproot",
                0,
                measure(lambda p=paths: plain(p, arguments.batch_size), arguments.repeat),
            )
            for shuffle, way in ((True, "stream, shuffled"), (False, "stream, in order")):
                for workers in arguments.workers:
                    row(
                        way,
                        workers,
                        stream_epochs(paths, arguments, workers=workers, shuffle=shuffle),
                    )
    if arguments.json:
        report = {
            "load_average": os.getloadavg(),
            "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
            "settings": {key: value for key, value in vars(arguments).items() if key != "json"},
            "rows": rows,
        }
        write(arguments.json, report, "torch", "uproot", "numpy")


if __name__ == "__main__":
    main()
