"""Precisions of a bundle: error in detector resolutions against speed.

Steps write their part of ``benchmarks/results/quantize.json`` under the bundle's name; the copy of
the bundle in ``--folder`` gets the graphs.

    python benchmarks/quantize.py graphs methods static pareto engines -b large.xec \
        --data data/test.root --folder scratch
    python benchmarks/quantize.py speed -b large.xec --data data/test.root --folder scratch

``graphs`` makes every graph; ``methods`` compares the ways to find ranges, with and without evened
channels; ``static`` is onnxruntime's own quantiser on the same events and gates; ``pareto`` makes
graphs between nothing and everything in int8; ``engines`` scores what the engines make of the
graphs; ``speed``, which wants a quiet machine, times all of them in one run.
"""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from quantize_static import static_quantiser

from calibration import METHODS, Options, quantize_bundle
from calibration.calibrated import Calibrated
from calibration.lowering import members
from calibration.observe import observe
from calibration.qdq import quantise_layers
from calibration.ranges import choose_range
from calibration.smoothing import smooth
from calibration.task import Task
from xec_deploy import open_bundle
from xec_deploy.backends import RunOptions, create_backend
from xec_deploy.backends.cores import granted_cores, processor_name
from xec_deploy.errors import CheckFailed, XecError
from xec_deploy.gates import load_gates

RESULTS = Path(__file__).parent / "results" / "quantize.json"
BATCH = 16


def say(text: str) -> None:
    """Print a line at once."""
    print(text, flush=True)


class Study:
    """A copy of a bundle, with what every step starts from."""

    def __init__(self, bundle: Path, options: argparse.Namespace) -> None:
        self.path = options.folder / bundle.name
        if not self.path.exists():
            shutil.copytree(bundle, self.path)
        self.bundle = open_bundle(self.path)
        self.data = [options.data]
        self.options = Options(
            events=options.events,
            judged=options.judged,
            threads=options.threads,
            keep=tuple(options.keep),
            sensitivity=not options.no_sensitivity,
        )

    # Computed when asked for: timings need none of it.
    @cached_property
    def task(self) -> Task:
        """Graph, layers, events and judge, as for int8 on a processor."""
        return Task(self.bundle, self.data, "int8", self.options)

    @cached_property
    def worth(self) -> dict[str, int]:
        """Group -> multiply-adds an event."""
        return self.task.worth(self.task.layers)

    def calibrated(self, **changes: Any) -> Calibrated:
        """Return ranges found with some options."""
        self.task.options = replace(self.options, **changes)
        found = self.task.calibrated(load_gates().of("int8"), None, None)
        self.task.options = self.options
        return found


def make_graph(study: Study, precision: Any, target: Any, rest: Any = None) -> dict[str, Any]:
    """Make a graph; return what was found."""
    begin = time.perf_counter()
    try:
        options = replace(study.options, target=target, rest=rest)
        made = quantize_bundle(open_bundle(study.path), precision, study.data, options).to_dict()
        file = study.path / made["file"]
        made["mib"] = round(file.stat().st_size / 2**20, 1)
        say(f"{precision} {target}: {made['share']:.0%}, {made['score']['worst']:.4f}")
    except CheckFailed as error:
        made = {"failed": str(error)}
        say(str(error))
    return {**made, "seconds": time.perf_counter() - begin}


def compare_methods(study: Study, groups: frozenset[str]) -> dict[str, Any]:
    """Score every method, with and without evened channels, on the same groups in int8."""
    table: dict[str, Any] = {}
    threads = study.options.threads
    graph, layers, events = study.task.graph, study.task.layers, study.task.calibration
    observed = observe(graph, layers, events, threads=threads)
    for evened in (False, True):
        if evened:
            graph, layers = smooth(graph, layers, observed.channel_maxima)
            observed = observe(graph, layers, events, threads=threads)
        low = members(layers, groups)
        for method in METHODS:
            ranges = {k: choose_range(h, method, "cpu") for k, h in observed.histograms.items()}
            score = study.task.judge.score(quantise_layers(graph, low, ranges, "cpu"))
            table[f"{method}{', evened' if evened else ''}"] = score.to_dict()
            say(f"{method} evened={evened}: {score.worst:.4f}")
    return table


def corrections(study: Study, names: list[str]) -> dict[str, Any]:
    """Score the chosen groups of every graph with biases as they are and corrected."""
    table: dict[str, Any] = {}
    record = open_bundle(study.path).manifest.graphs
    for name in names:
        if name not in record:
            continue
        precision, target, rest = GRAPHS[name]
        high = set(record[name].origin["float"])
        method = (record[name].origin.get("calibration") or {}).get("method", "auto")
        for correct in (False, True):
            options = replace(
                study.options, target=target, rest=rest, correct=correct, method=method
            )
            task = Task(study.bundle, study.data, precision, options)
            if precision == "int8":
                layers = task.layers
                builder = task.calibrated(1.0, task.rest(options.rest_half), None).builder
            else:
                layers, builder = task.inner, task.halves(precision)
            low = frozenset(layer.part for layer in layers if not high & {layer.group, layer.part})
            label = f"{name}{', corrected' if correct else ''}"
            table[label] = task.judge.score(builder(low)).to_dict()
            say(f"{label}: {table[label]['worst']:.4f}")
    return table


def rate(run: Callable[[], Any], seconds: float) -> float:
    """Return events a second of one batch, the best of repetitions over some seconds."""
    run()
    best, begin = np.inf, time.perf_counter()
    while time.perf_counter() - begin < seconds:
        start = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - start)
    return float(BATCH / best)


def candidates(study: Study, graphs: dict[str, Any]) -> Iterator[tuple[str, str, Path, str]]:
    """Yield label, engine, graph and arithmetic of what is timed."""
    fp32 = study.bundle.graph()
    yield "fp32", "onnxruntime", fp32, "fp32"
    yield "fp32", "openvino", fp32, "fp32"
    yield "bf16", "openvino", fp32, "bf16"
    if "low" in graphs.get("int8-cpu", {}):
        graph = open_bundle(study.path).graph("int8-cpu")
        yield "int8", "onnxruntime", graph, "fp32"
        yield "int8", "openvino", graph, "int8"
        yield "int8, rest bf16", "openvino", graph, "bf16"
    if "bf16" in study.bundle.manifest.graphs:
        yield "bf16 of the bundle", "openvino", study.bundle.graph("bf16"), "bf16"
    for file in sorted(study.path.parent.glob(f"pareto-{study.path.stem}-*.onnx")):
        yield file.stem.split("-")[-1], "openvino", file, "int8"


def prepare_pareto(study: Study, graph: dict[str, Any]) -> dict[str, Any]:
    """Write graphs with ever more groups in int8, cheapest error first; return their errors."""
    errors = sorted(
        graph["sensitivity"], key=lambda one: one["worst"] ** 2 / max(one["multiply_adds"], 1)
    )
    method = (graph.get("calibration") or {}).get("method", "minmax")
    calibrated = study.calibrated(method=method)
    total = sum(study.worth.values())
    points: dict[str, Any] = {}
    counts = sorted({0, *np.linspace(1, len(errors), 7).round().astype(int).tolist()})
    for count in counts:
        groups = frozenset(one["group"] for one in errors[:count])
        model = calibrated.builder(groups)
        onnx.save(model, study.path.parent / f"pareto-{study.path.stem}-{count:02d}.onnx")
        points[f"{count:02d}"] = {
            "groups": count,
            "share": sum(study.worth[group] for group in groups) / total,
            "worst": study.task.judge.score(model).worst,
        }
        say(f"{count} groups: {points[f'{count:02d}']}")
    return points


def speed(study: Study, graphs: dict[str, Any], threads: int, seconds: float) -> dict[str, Any]:
    """Return events a second of every graph and engine, in one run."""
    golden = study.bundle.golden
    assert golden is not None  # noqa: S101 - a bundle folder has them
    given = golden.npho[:BATCH], golden.time[:BATCH], golden.dead[:BATCH]
    table: dict[str, Any] = {}
    for label, engine, graph, arithmetic in candidates(study, graphs):
        try:
            backend = create_backend(
                engine, graph, RunOptions(batch=BATCH, threads=threads, precision=arithmetic)
            )
            value = rate(lambda: backend.run(*given), seconds)  # noqa: B023 - used at once
        except XecError as error:
            say(f"{label} {engine}: {error}")
            continue
        table[f"{label}, {engine}"] = value
        say(f"{label}, {engine}: {value:.1f} events/s")
    return table


def engine_errors(study: Study, graphs: dict[str, Any]) -> dict[str, Any]:
    """Score what engines make of the graphs themselves: fused kernels, bfloat16."""
    table = {}
    for label, engine, graph, arithmetic in candidates(study, graphs):
        if label.isdigit():
            continue
        try:
            backend = create_backend(
                engine, graph, RunOptions(batch=BATCH, threads=1, precision=arithmetic)
            )
            table[f"{label}, {engine}"] = study.task.judge.score_engine(backend.run).to_dict()
        except XecError as error:
            say(f"{label} {engine}: {error}")
            continue
        say(f"{label}, {engine}: {table[f'{label}, {engine}']['worst']:.4f}")
    return table


GRAPHS = {
    "int8-cpu": ("int8", "cpu", "fp32"),
    "int8-cpu-bf16": ("int8", "cpu", "bf16"),
    "int8-trt": ("int8", "tensorrt", "fp16"),
    "int8-trt-fp32": ("int8", "tensorrt", "fp32"),
    "fp16": ("fp16", "cpu", None),
    "bf16": ("bf16", "cpu", None),
}


def run_step(step: str, study: Study, entry: dict[str, Any], options: argparse.Namespace) -> None:
    """Add the results of one step to the bundle's entry."""
    graphs = entry.setdefault("graphs", {})
    if step == "graphs":
        for name in options.graphs.split(","):
            graphs[name] = make_graph(study, *GRAPHS[name])
        entry["groups"] = study.worth
        entry["events"] = {"calibration": options.events, "judged": options.judged}
        return
    low = frozenset(graphs["int8-cpu"].get("low", ())) or frozenset(study.worth)
    steps: dict[str, Callable[[], Any]] = {
        "methods": lambda: compare_methods(study, low),
        "static": lambda: static_quantiser(study.task, low, study.path.parent),
        "correction": lambda: corrections(study, options.graphs.split(",")),
        "pareto": lambda: prepare_pareto(study, graphs["int8-cpu"]),
        "engines": lambda: engine_errors(study, graphs),
        "speed": lambda: speed(study, graphs, options.threads, options.seconds),
    }
    found = steps[step]()
    if step == "speed":
        # Of several runs the fastest counts: what disturbs only makes slower.
        before = entry.get(step, {})
        found = {label: max(value, before.get(label, 0.0)) for label, value in found.items()}
    entry[step] = found


def main() -> None:
    """Run steps for one bundle and write their part of the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    choices = ["graphs", "correction", "methods", "static", "pareto", "engines", "speed"]
    parser.add_argument("steps", nargs="+", choices=choices)
    parser.add_argument("-b", "--bundle", type=Path, required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--graphs", default=",".join(GRAPHS))
    parser.add_argument("--events", type=int, default=512)
    parser.add_argument("--judged", type=int, default=256)
    parser.add_argument("--keep", nargs="*", default=[], help="groups that stay in float32")
    parser.add_argument("--no-sensitivity", action="store_true")
    parser.add_argument("--threads", type=int, default=granted_cores())
    parser.add_argument("--seconds", type=float, default=3.0, help="for each timing")
    parser.add_argument("-o", "--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    study = Study(options.bundle, options)
    for step in options.steps:
        results = json.loads(options.output.read_text()) if options.output.is_file() else {}
        entry = results.setdefault(options.bundle.stem, {})
        run_step(step, study, entry, options)
        entry["machine"] = {
            "processor": processor_name() or platform.machine(),
            "cores": granted_cores(),
            **{name: metadata.version(name) for name in ("onnx", "onnxruntime", "openvino")},
        }
        options.output.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
