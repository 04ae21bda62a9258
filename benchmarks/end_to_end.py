"""Share of reading, preparing and writing in an end-to-end run, and its rate.

In one process and with one engine: the engine alone on events in memory, the other stages alone
(the same pipeline with an engine that answers at once), and the whole from file to file.  The share
of input and output is what they cost on top of the engine: one less the ratio of the rates.

    python benchmarks/end_to_end.py large.xec [--events 800] [--json OUT.json]
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from machine import write

from xec_deploy import infer, open_bundle
from xec_deploy.backends import RunOptions
from xec_deploy.backends.tuning import tune
from xec_deploy.bundle import Bundle
from xec_deploy.events import EventWriter, open_events
from xec_deploy.inference.inferring import REQUESTS
from xec_deploy.simulation import SimulationConfig, simulate

FORMS = {"LZ4": 4, "ZSTD": 1}
"""Codec and how often the file of the stages alone is longer, for a time that can be measured."""


class Instant:
    """An engine that gives the same answer to everything, at once."""

    def __init__(self, engine: Any, outputs: dict[str, np.ndarray[Any, Any]]) -> None:
        self.name, self.device, self.options = engine.name, engine.device, engine.options
        self._engine, self._outputs = engine, outputs

    def run(self, npho: Any, time: Any, dead: Any) -> dict[str, np.ndarray[Any, Any]]:
        """Return rows that were computed before."""
        del time, dead
        return {name: values[: len(npho)] for name, values in self._outputs.items()}

    def describe(self) -> dict[str, Any]:
        """Describe the engine it stands for."""
        return dict(self._engine.describe())


def write_file(path: Path, events: int, codec: str) -> None:
    """Write simulated events."""
    blocks = list(simulate(SimulationConfig(seed=1), events, threads=1))
    sample = {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}
    with EventWriter(path, compression=codec) as writer:
        writer.extend({name: sample[name] for name in ("run", "event", "npho", "relative_time")})
        writer.commit()


def cpu() -> float:
    """CPU time of the process [s]."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def engine_alone(engine: Any, path: Path) -> float:
    """Events a second of the engine on events in memory, in requests like those of inference.

    As there, the next request is begun before the last one is done.
    """
    request = engine.options.batch * engine.options.sessions
    with open_events(path) as events:
        batches = list(events.batches(request))
    engine.run(batches[0].npho, batches[0].time, batches[0].dead)
    with ThreadPoolExecutor(REQUESTS) as pool:
        start = time.perf_counter()
        list(pool.map(lambda batch: engine.run(batch.npho, batch.time, batch.dead), batches))
        return sum(map(len, batches)) / (time.perf_counter() - start)


def whole(bundle: Bundle, path: Path, options: dict[str, Any]) -> dict[str, Any]:
    """Infer a file to a file."""
    out = path.with_name("out.root")
    used, start = cpu(), time.perf_counter()
    summary = infer(bundle, path, out, force=True, **options)
    wall = time.perf_counter() - start
    entries = summary.files[0].entries
    return {
        "events_per_s": round(entries / wall, 1),
        "cpu_us_per_event": round((cpu() - used) / entries * 1e6, 1),
        "stages_s": {name: round(value, 3) for name, value in summary.stages.items()},
    }


def main() -> None:
    """Print a table, and write JSON if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--backend", default="auto")
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--events", type=int, default=800)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    bundle = open_bundle(arguments.bundle)
    tuned = tune(bundle, arguments.backend, precision=arguments.precision)
    run = tuned.options
    engine = bundle.backend(tuned.backend, precision=arguments.precision, options=run)
    options = {
        "backend": tuned.backend,
        "precision": arguments.precision,
        "batch": run.batch,
        "sessions": run.sessions,
        "threads": run.threads,
    }
    report: dict[str, Any] = {
        "bundle": bundle.manifest.name,
        "engine": engine.describe(),
        "precision": arguments.precision,
        "events": arguments.events,
        "files": {},
    }
    with tempfile.TemporaryDirectory() as name:
        for codec, times in FORMS.items():
            path = Path(name) / f"{codec}.root"
            write_file(path, arguments.events, codec)
            # Alone and whole in turn, because the machine is never the same for long.
            rounds = [
                (engine_alone(engine, path), whole(bundle, path, options))
                for _ in range(arguments.rounds)
            ]
            alone = max(rate for rate, _ in rounds)
            best = max((found for _, found in rounds), key=lambda found: found["events_per_s"])
            found = {
                "engine_alone_events_per_s": round(alone, 1),
                "end_to_end": best,
                "share_of_io": round(1 - best["events_per_s"] / alone, 3),
                "without_engine": without_engine(bundle, engine, path, options, times),
            }
            report["files"][codec] = found
            print(codec, json.dumps(found))
    if arguments.json:
        write(arguments.json, report, "numpy", "uproot", "onnxruntime", "openvino")


def without_engine(
    bundle: Bundle, engine: Any, path: Path, options: dict[str, Any], times: int
) -> dict[str, Any]:
    """Measure everything but the engine: its rate, and CPU time of an event."""
    with open_events(path) as events:
        request = engine.options.batch * engine.options.sessions
        batch = next(events.batches(request))
        longer = path.with_name("longer.root")
        rows = events.read(0, events.num_entries)
        with EventWriter(longer, compression=events.codec) as writer:
            for number in range(times):
                names = {"run": rows.run, "event": rows.event + number * len(rows)}
                writer.extend({**names, "npho": rows.npho, "relative_time": rows.time})
            writer.commit()
    instant = Instant(engine, engine.run(batch.npho, batch.time, batch.dead))
    key = (
        options["backend"],
        options["precision"],
        RunOptions(**vars(engine.options)),
        None,
    )
    before = dict(bundle._backends)  # noqa: SLF001 - stands in for the engine
    bundle._backends.update(dict.fromkeys([*before, key], instant))  # noqa: SLF001
    try:
        found = [whole(bundle, longer, options) for _ in range(3)]
    finally:
        bundle._backends.clear()  # noqa: SLF001
        bundle._backends.update(before)  # noqa: SLF001
    return max(found, key=lambda item: item["events_per_s"])


if __name__ == "__main__":
    main()
