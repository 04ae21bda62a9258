"""`infer` beside the plain path, from ROOT file to ROOT file, in turns.

The plain path is what research scripts do: the network exported as it is written
(``plain_model.py``), chunks of 64 events read with uproot, one ONNX Runtime session with its
defaults, results appended to lists and written at the end.  ``infer`` runs the exported bundle with
the settings measured for the engine.  Both read the same file and write the same quantities.

    python benchmarks/large_model.py --data data/train_000.root -o large.pth
    python benchmarks/against_plain.py large.pth --data data/test.root --folder against \
        [--precision fp32 bf16] [--json OUT.json]

Graphs are kept in the folder, so that a second run only measures.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import openvino
import torch
import uproot
from plain_model import plain_model

from xec_deploy import infer, open_bundle
from xec_deploy.backends.tuning import tune
from xec_deploy.bundle import Bundle
from xec_deploy.errors import CheckFailed
from xec_deploy.export import export_bundle
from xec_deploy.export.graph import DeployedRegressor
from xec_deploy.export.to_onnx import to_onnx
from xec_train.checkpoint import load_regressor

CHUNK = 64
"""Events of a chunk of the research script."""
BRANCHES = ("npho", "relative_time")


def graphs(checkpoint: Path, folder: Path) -> tuple[Path, Bundle]:
    """Return the plain graph and the bundle of a checkpoint, exported if they are not there."""
    folder.mkdir(parents=True, exist_ok=True)
    plain, bundle = folder / "plain.onnx", folder / "large.xec"
    if not plain.exists():
        loaded = load_regressor(checkpoint)
        module = DeployedRegressor(loaded.model, loaded.normalisation, loaded.log_transform)
        tasks = [str(task) for task in loaded.model.config.active_tasks]
        onnx.save(to_onnx(plain_model(module.eval()), tasks), plain)
    return plain, open_bundle(bundle) if bundle.exists() else export_bundle(checkpoint, bundle)


def sample(data: str, events: int, path: Path) -> None:
    """Write the first events of a file, so that both paths read as many."""
    with uproot.open(data) as file:
        arrays = file["tree"].arrays(["run", "event", *BRANCHES], entry_stop=events, library="np")
    with uproot.recreate(path, compression=uproot.LZ4(4)) as file:
        tree = file.mktree("tree", {k: (v.dtype, v.shape[1:]) for k, v in arrays.items()})
        tree.extend(arrays)


def plain_path(graph: Path, data: Path, output: Path) -> float:
    """Read, run and append chunk by chunk, write at the end; return events a second."""
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_outputs()]
    rows: list[list[Any]] = []
    start = time.perf_counter()
    with uproot.open(data) as file:
        for chunk in file["tree"].iterate(list(BRANCHES), step_size=CHUNK, library="np"):
            npho, relative = (chunk[name].astype(np.float32) for name in BRANCHES)
            feed = {"npho": npho, "time": relative, "dead": np.zeros(npho.shape, bool)}
            rows.append(session.run(names, feed))
    values = (np.concatenate(parts) for parts in zip(*rows, strict=True))
    columns = dict(zip(names, values, strict=True))
    with uproot.recreate(output) as file:
        tree = file.mktree("val_tree", {k: (v.dtype, v.shape[1:]) for k, v in columns.items()})
        tree.extend(columns)
    return len(columns[names[0]]) / (time.perf_counter() - start)


def ours(bundle: Bundle, options: dict[str, Any], data: Path, output: Path) -> float:
    """Run `infer`; return events a second."""
    start = time.perf_counter()
    summary = infer(bundle, data, output, force=True, **options)
    (result,) = summary.files
    return result.entries / (time.perf_counter() - start)


def main() -> None:
    """Print ratios, and write JSON if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--data", required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--precision", nargs="+", default=["fp32"])
    parser.add_argument("--events", type=int, default=640)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--prepare", action="store_true", help="only export and choose settings")
    arguments = parser.parse_args()
    plain, bundle = graphs(arguments.checkpoint, arguments.folder)
    chosen: dict[str, dict[str, Any]] = {}
    engines: dict[str, Any] = {}
    for precision in arguments.precision:
        tuned = tune(bundle, "auto", precision=precision)
        run = tuned.options
        try:
            engine = bundle.backend(tuned.backend, precision=precision, options=run)
        except CheckFailed as error:
            print(f"{precision}: {error}")
            continue
        engines[precision] = engine.describe()
        chosen[precision] = {
            "backend": tuned.backend,
            "precision": precision,
            "batch": run.batch,
            "sessions": run.sessions,
            "threads": run.threads,
        }
    if arguments.prepare:
        return
    rates: dict[str, list[float]] = {"plain": [], **{precision: [] for precision in chosen}}
    with tempfile.TemporaryDirectory() as name:
        data = Path(name) / "events.root"
        sample(arguments.data, arguments.events, data)
        # In turn, because the machine is never the same for long.
        for _ in range(arguments.rounds):
            rates["plain"].append(plain_path(plain, data, Path(name) / "plain.root"))
            for precision, options in chosen.items():
                rates[precision].append(ours(bundle, options, data, Path(name) / "ours.root"))
    best = {name: max(values) for name, values in rates.items()}
    report = {
        "program": "benchmarks/against_plain.py",
        "events": arguments.events,
        "engines": engines,
        "events_per_s": {name: [round(v, 1) for v in values] for name, values in rates.items()},
        "times_plain_path": {name: round(best[name] / best["plain"], 2) for name in chosen},
        "machine": {"cores": len(os.sched_getaffinity(0)), "machine": platform.machine()},
        "versions": {
            "onnxruntime": onnxruntime.__version__,
            "openvino": openvino.__version__,
            "torch": torch.__version__,
            "uproot": uproot.__version__,
        },
    }
    print(json.dumps(report, indent=2))
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
