"""Bundles of the reference checkpoints against their float64 values, and their engines.

Exports each checkpoint twice, the second time in another process, and compares the files byte for
byte; runs the reference events through ONNX Runtime and OpenVINO in fp32 and gives the largest
error of each output as a fraction of its spread over the events; runs the graph checks; builds an
engine for sm80 with TensorRT for RTX, for which no GPU is needed.  Last a regressor with an
inpainter ahead: whole events must give the bits of the regressor alone.

``--only`` measures some of the rows and keeps the others of the JSON file.

    python benchmarks/export_reference.py ../shared/reference/legacy \
        --json benchmarks/results/export_reference.json

``docs/exporting.md`` holds the table.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from machine import write

from xec_deploy.backends import RunOptions
from xec_deploy.bundle import Bundle
from xec_deploy.checks import run_checks
from xec_deploy.engines import EngineOptions, build_engine
from xec_deploy.errors import XecError
from xec_deploy.export import export_bundle
from xec_deploy.export.golden import golden_events

CHECKPOINTS = (
    "regressor_finegrid",
    "regressor_split",
    "mae_finegrid",
    "inpainter_perface",
    "inpainter_crossattn",
)
ENGINES = ("onnxruntime", "openvino")
ALLOWED = 1e-4
FUSED = "fused"
AHEAD = ("regressor_split", "inpainter_perface")
AGAIN = "from xec_deploy.export import export_bundle; import sys; export_bundle(*sys.argv[1:3])"


def errors(bundle: Bundle, engine: str, events: dict[str, np.ndarray]) -> dict[str, float]:
    """Return the largest error of each output as a fraction of its spread over the events."""
    backend = bundle.backend(engine, options=RunOptions(threads=1))
    outputs = backend.run(events["npho"], events["time"], events["dead"])
    worst = {}
    for name, values in outputs.items():
        if name == "npho_filled":
            # Live channels pass unchanged, values of invalid ones are not in the reference.
            dead = events["dead"]
            truth = events["out_npho"][dead]
            worst[name] = np.abs(values[dead] - truth).max() / truth.std()
            continue
        truth = events["tokens"] if name == "tokens" else reference(events, name, values.shape[1])
        worst[name] = (np.abs(values - truth).max(axis=0) / truth.std(axis=0)).max()
    return {name: float(value) for name, value in worst.items()}


def reference(events: dict[str, np.ndarray], name: str, width: int) -> np.ndarray:
    """Return the reference of a task, or of its sigma, which the head emits as log variance."""
    emitted = events[f"out_{name.removesuffix('_sigma')}"]
    return np.exp(0.5 * emitted[:, width:]) if name.endswith("_sigma") else emitted[:, :width]


def same_bytes(checkpoint: Path, bundle: Bundle, folder: Path) -> bool:
    """Export again in another process and compare every file."""
    again = folder / "again" / bundle.path.name
    again.parent.mkdir(exist_ok=True)
    subprocess.run([sys.executable, "-c", AGAIN, checkpoint, again], check=True)  # noqa: S603
    names = sorted(path.name for path in bundle.path.iterdir())
    return names == sorted(path.name for path in again.iterdir()) and all(
        (bundle.path / name).read_bytes() == (again / name).read_bytes() for name in names
    )


def engine_for_sm80(bundle: Bundle) -> dict[str, Any]:
    """Build an engine without a GPU."""
    try:
        built = build_engine(
            bundle, "fp32", flavour="rtx", target="sm80", options=EngineOptions(), fallback=False
        )
    except XecError as error:
        return {"failed": str(error)}
    manifest = built.manifest
    return {
        "mib": round(manifest.bytes / 2**20, 2),
        "seconds": round(manifest.build_seconds, 2),
        "layers": manifest.layers.layers,
    }


def measure(checkpoint: Path, folder: Path) -> dict[str, Any]:
    """Export a checkpoint and measure its bundle."""
    start = time.process_time()
    bundle = export_bundle(checkpoint, folder / f"{checkpoint.stem}.xec")
    seconds = time.process_time() - start
    with np.load(checkpoint.with_suffix(".npz")) as archive:
        events = dict(archive)
    size = bundle.file().stat().st_size
    deterministic = same_bytes(checkpoint, bundle, folder)
    report = run_checks(bundle.file())
    return {
        "kind": bundle.manifest.kind,
        "export_cpu_seconds": round(seconds, 1),
        "graph_mib": round(size / 2**20, 2),
        "same_bytes": deterministic,
        "failed_checks": [result.id for _, result in report.errors],
        "errors": {engine: errors(bundle, engine, events) for engine in ENGINES},
        "engine_sm80": engine_for_sm80(bundle),
    }


def fused_bits(folder: Path, checkpoints: Path) -> bool:
    """Whether whole events give the same bits with an inpainter ahead as without."""
    regressor, inpainter = (checkpoints / f"{name}.pth" for name in AHEAD)
    bundle = export_bundle(regressor, folder / "fused.xec", inpainter=inpainter)
    events = golden_events().select(np.array([0, 29, 30, 31]))
    one, other = (
        bundle.backend("onnxruntime", options=RunOptions(threads=1), inpaint=way).run(
            events.npho, events.time, events.dead
        )
        for way in ("model", "none")
    )
    return all(np.array_equal(one[name].view("u4"), other[name].view("u4")) for name in one)


def main() -> None:
    """Run everything and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("checkpoints", type=Path, help="folder of .pth and .npz files")
    parser.add_argument("--only", nargs="*", default=(*CHECKPOINTS, FUSED), help="of the rows")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    known: dict[str, Any] = {}
    if options.json and options.json.exists():
        known = json.loads(options.json.read_text(encoding="utf-8"))
    rows, bits = known.get("checkpoints", {}), known.get("fused_whole_events_same_bits")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        os.environ["XEC_CACHE"] = str(folder / "cache")
        for name in set(options.only) - {FUSED}:
            rows[name] = measure(options.checkpoints / f"{name}.pth", folder)
        if FUSED in options.only:
            bits = fused_bits(folder, options.checkpoints)
    rows = {name: rows[name] for name in CHECKPOINTS if name in rows}
    packages = ("torch", "onnx", "onnxruntime", "openvino", "tensorrt-rtx")
    results = {
        "threads": 1,
        "allowed": ALLOWED,
        "fused_whole_events_same_bits": bits,
        "checkpoints": rows,
    }
    if options.json:
        write(options.json, results, *packages)
    print(table(rows))
    print(f"whole events with an inpainter ahead: same bits {bits}")


def table(rows: dict[str, Any]) -> str:
    """Return the table of the page."""
    lines = [
        "| checkpoint | output | onnxruntime | openvino | graph | engine sm80 | built in |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, row in rows.items():
        engine = row["engine_sm80"]
        built = (
            "refused | "
            if "failed" in engine
            else f"{engine['mib']:.1f} MiB | {engine['seconds']:.1f} s"
        )
        head, facts = name, f"{row['graph_mib']:.1f} MiB | {built}"
        for output in row["errors"][ENGINES[0]]:
            figures = " | ".join(f"{row['errors'][e][output]:.1e}" for e in ENGINES)
            lines.append(f"| {head} | {output} | {figures} | {facts} |")
            head, facts = "", " | | "
    return "\n".join(lines)


if __name__ == "__main__":
    main()
