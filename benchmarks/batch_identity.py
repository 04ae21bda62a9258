"""Whether a value depends, in its last bits, on the batch, the threads or its place in a batch.

Runs the golden events of a bundle, repeated to 64, in batches of several sizes, with several
numbers of threads, and rotated within batches of the same size, and compares bit by bit with one
thread and batches of 16.  What changes nothing may differ between the workers of a cluster; what
changes bits must be the same everywhere.  ``docs/cluster.md`` holds the conclusion.

    python benchmarks/batch_identity.py BUNDLE.xec.. [--engines onnxruntime openvino] [--json OUT]
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from machine import write
from numpy.typing import NDArray

from xec_deploy.backends import BACKENDS, RunOptions
from xec_deploy.backends.measure import RawEvents, sample_events
from xec_deploy.bundle import Bundle, open_bundle

EVENTS = 64
BATCH = 16


def run(
    bundle: Bundle, engine: str, events: RawEvents, batch: int, threads: int = 1
) -> list[NDArray[np.float32]]:
    """Return the outputs of all events, run in batches on one session."""
    options = RunOptions(batch=batch, sessions=1, threads=threads)
    outputs = bundle.backend(engine, options=options).run(*events)
    return [outputs[name] for name in bundle.manifest.output_names]


def difference(
    bundle: Bundle, expected: list[NDArray[Any]], found: list[NDArray[Any]]
) -> dict[str, float]:
    """Return the share of values with other bits, and the largest difference in resolutions."""
    changed, total, worst = 0, 0, 0.0
    for name, a, b in zip(bundle.manifest.output_names, expected, found, strict=True):
        changed += int(np.count_nonzero(a.view(np.int32) != b.view(np.int32)))
        total += a.size
        outputs = bundle.manifest.tasks[name].outputs
        sigma = np.array([output.detector_sigma or np.nan for output in outputs])
        worst = max(worst, float(np.nanmax(np.abs(a - b) / sigma)))
    return {"changed_share": round(changed / total, 4), "largest_sigma": float(f"{worst:.1e}")}


def measure(bundle: Bundle, engine: str) -> dict[str, dict[str, float]]:
    """Compare every way of running with batches of 16 on one thread."""
    events = sample_events(bundle, EVENTS)
    expected = run(bundle, engine, events, BATCH)
    found = {"again": difference(bundle, expected, run(bundle, engine, events, BATCH))}
    for batch in (1, 2, 4, 8, 32, 64):
        found[f"batch {batch}"] = difference(bundle, expected, run(bundle, engine, events, batch))
    # Every event at another place of a batch of the same size, among other events.
    npho, time, dead = (np.roll(values, 5, axis=0) for values in events)
    moved = run(bundle, engine, (npho, time, dead), BATCH)
    found["another place"] = difference(
        bundle, expected, [np.roll(values, -5, axis=0) for values in moved]
    )
    found["2 threads"] = difference(bundle, expected, run(bundle, engine, events, BATCH, 2))
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("bundles", nargs="+")
    parser.add_argument("--engines", nargs="+", default=["onnxruntime"], choices=BACKENDS)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    results: dict[str, Any] = {}
    for path in arguments.bundles:
        bundle = open_bundle(path)
        for engine in arguments.engines:
            found = results.setdefault(bundle.manifest.name, {})[engine] = measure(bundle, engine)
            for way, values in found.items():
                print(
                    f"{bundle.manifest.name:12s} {engine:12s} {way:14s} "
                    f"{100 * values['changed_share']:6.1f} % of the values have other bits, "
                    f"up to {values['largest_sigma']:.1e} resolutions"
                )
    if arguments.json:
        record = {"events": EVENTS, "bundles": results}
        write(arguments.json, record, *arguments.engines)


if __name__ == "__main__":
    main()
