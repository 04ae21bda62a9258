"""Events a second of the large research regressor on a CPU, rewrite by rewrite.

    python benchmarks/export_speed.py graphs -g graphs
    python benchmarks/export_speed.py measure -g graphs -o benchmarks/results/export_speed.json

makes a regressor of 35.6 million random weights, exports it plainly, as the package's modules and
with every rewrite added one after another, and times each graph in every engine at the best of a
few batches and sessions, beside the rate at which the machine multiplies matrices.  ``--only``
measures a part and merges it with what the output has; every part times the plain path and the
machine again, so that ratios are of one run.
"""

from __future__ import annotations

import argparse
import copy
import json
import platform
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import openvino
import torch
from plain_model import plain_model

from xec_deploy.backends import RunOptions, create_backend
from xec_deploy.backends.cores import granted_cores, processor_name
from xec_deploy.backends.openvino_cpu import OpenVinoBackend
from xec_deploy.detector.constants import N_SENSORS
from xec_deploy.detector.layout import get_layout
from xec_deploy.export.graph import DeployedRegressor
from xec_deploy.export.rewrites import REWRITES
from xec_deploy.export.to_onnx import to_onnx
from xec_deploy.normalisation import Normalisation
from xec_train.models import ModelConfig, build_regressor

PLAIN, MODULES, PROFILE = "plain path", "package's modules", "profile"
ENGINES = {
    "onnxruntime fp32": ("onnxruntime", "fp32"),
    "openvino fp32": ("openvino", "fp32"),
    "openvino bf16": ("openvino", "bf16"),
}
REFERENCE = "onnxruntime fp32"
"""Engine of the plain path."""
BATCHES = (4, 8)
PLAIN_BATCHES = (16, 32)
SECONDS = 0.7
EVENTS = 32
MULTIPLY_ADDS = {(3, 3): 419e6, (2, 2): 434e6}
"""Of an event, by pool of the outer face, before any of them is saved."""
DIMENSION = 1024


def network(pool: tuple[int, int]) -> DeployedRegressor:
    """Return the regressor with random weights, GRN's included."""
    torch.manual_seed(0)
    normalisation = Normalisation(npho_scheme="sqrt", npho_scale=20000.0)
    config = ModelConfig(encoder_dim=DIMENSION, outer_fine_pool=pool)
    model = build_regressor(config, get_layout("research"), normalisation)
    for name, parameter in model.named_parameters():
        if "grn" in name:
            torch.nn.init.normal_(parameter, std=0.3)
        elif "fusion_transformer" in name and parameter.ndim == 2:
            # Its layers start as copies of one, which an export would store once.
            torch.nn.init.xavier_uniform_(parameter)
    return DeployedRegressor(model, normalisation).eval()


def write_graphs(folder: Path, pool: tuple[int, int]) -> None:
    """Export all forms of the network, those that are there already left alone."""
    folder.mkdir(parents=True, exist_ok=True)
    module = network(pool)
    forms: dict[str, Callable[[], torch.nn.Module]] = {
        PLAIN: lambda: plain_model(module),
        MODULES: lambda: module,
    }
    for count, name in enumerate(REWRITES, start=1):
        forms[name] = lambda count=count: rewritten(module, count)  # type: ignore[misc]
    for name, form in forms.items():
        path = graph_file(folder, name)
        if path.exists():
            continue
        outputs = [str(task) for task in module.model.config.active_tasks]
        graph = to_onnx(form(), outputs)
        onnx.save(graph, path)
        print(f"{name}: {len(graph.graph.node)} nodes", flush=True)


def rewritten(module: DeployedRegressor, count: int) -> torch.nn.Module:
    """Return a copy with the first ``count`` rewrites."""
    result: torch.nn.Module = copy.deepcopy(module)
    for step in list(REWRITES.values())[:count]:
        result = step(result)
    return result.eval()


def graph_file(folder: Path, name: str) -> Path:
    """Return where a form of the network lies."""
    return folder / f"{name.replace(' ', '-').replace(chr(39), '')}.onnx"


def events(count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return random raw events."""
    random = np.random.default_rng(1)
    return (
        random.exponential(500.0, (count, N_SENSORS)).astype(np.float32),
        random.normal(0.0, 2e-8, (count, N_SENSORS)).astype(np.float32),
        random.random((count, N_SENSORS)) < 0.02,
    )


def median_seconds(run: Callable[[], object], seconds: float = SECONDS) -> float:
    """Return the median time of a call, after one that does not count."""
    run()
    times: list[float] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < 3:
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def gigaflops(dtype: torch.dtype) -> float:
    """Return the rate of large matrix products [10^9 operations a second]."""
    torch.set_num_threads(granted_cores())
    size = 1536
    a, b = (torch.randn(size, size).to(dtype) for _ in range(2))
    return 2e-9 * size**3 / median_seconds(lambda: a @ b, 1.5)


def settings(form: str) -> list[tuple[int, int, int]]:
    """Return batches, sessions and threads to try for a form."""
    cores = granted_cores()
    if form == PLAIN:
        return [(batch, 1, cores) for batch in PLAIN_BATCHES]
    # Sessions of one thread each were the faster split where both were tried.
    tried = [(batch, cores, 1) for batch in BATCHES]
    return tried if form != list(REWRITES)[-1] else [*tried, (2, cores, 1), (8, 1, cores)]


def rate(folder: Path, form: str, engine: str) -> dict[str, Any]:
    """Return events a second at the best setting, and how it was reached."""
    name, precision = ENGINES[engine]
    path = graph_file(folder, form)
    best: dict[str, Any] = {"events_per_second": 0.0}
    given = events(EVENTS)
    for batch, sessions, threads in settings(form):
        options = RunOptions("cpu", batch, sessions, threads, precision)
        backend = create_backend(name, path, options)
        found = EVENTS / median_seconds(lambda backend=backend: backend.run(*given))  # type: ignore[misc]
        if found > best["events_per_second"]:
            best = {
                "events_per_second": round(found, 1),
                "batch": batch,
                "sessions": sessions,
                "threads": threads,
            }
    return best


CLASSES = {
    "matrix products, what is fused to them included": ("MatMul", "FullyConnected", "Gemm"),
    "bias and GELU": ("BiasGelu", "Gelu"),
    "convolutions": ("Conv", "Convolution", "GroupConvolution"),
    "LayerNorm": ("LayerNormalization", "SkipLayerNormalization", "MVN", "RMS"),
    "squares and sums of GRN": ("ReduceSum", "ReduceL2", "ReduceMean", "Mul", "Multiply"),
    "layout changes": ("Transpose", "ReorderInput", "ReorderOutput", "Reorder", "Reshape"),
    "sums and other elementwise": ("Add", "Sub", "Subgraph", "Eltwise", "Subtract"),
}
OTHER = "rest"


def shares(times: dict[str, float]) -> dict[str, float]:
    """Return the share of each class of ops of the time."""
    kind_of = {op: kind for kind, ops in CLASSES.items() for op in ops}
    total: Counter[str] = Counter()
    for op, seconds in times.items():
        total[kind_of.get(op, OTHER)] += seconds
    return {kind: round(value / sum(times.values()), 3) for kind, value in total.most_common()}


def profile_onnxruntime(path: Path, batch: int) -> dict[str, float]:
    """Return seconds by op of a batch on one thread, the least of several runs for each node."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    options.enable_profiling = True
    with tempfile.TemporaryDirectory() as scratch:
        options.profile_file_prefix = str(Path(scratch) / "profile")
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        given = dict(zip(("npho", "time", "dead"), events(batch), strict=True))
        for _ in range(20):
            session.run(None, given)
        records = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    least: dict[tuple[str, str], float] = {}
    for record in records:
        if record.get("cat") == "Node" and record["name"].endswith("_kernel_time"):
            key = (record["args"]["op_name"], record["name"])
            least[key] = min(least.get(key, np.inf), record["dur"] * 1e-6)
    return _by_op(least)


def profile_openvino(path: Path, batch: int, precision: str) -> dict[str, float]:
    """Return seconds by op of a batch on one thread, the least of several runs for each node."""
    backend = OpenVinoBackend(path, RunOptions("cpu", batch, 1, 1, precision), profile=True)
    given = events(batch)
    least: dict[tuple[str, str], float] = {}
    for _ in range(20):
        backend.run(*given)
        for record in backend.profile():
            key = (record.node_type, record.node_name)
            least[key] = min(least.get(key, np.inf), record.real_time.total_seconds())
    return _by_op(least)


def _by_op(least: dict[tuple[str, str], float]) -> dict[str, float]:
    total: Counter[str] = Counter()
    for (op, _), seconds in least.items():
        total[op] += seconds
    return dict(total)


def measure(
    folder: Path, parts: list[str], pool: tuple[int, int]
) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Time the forms and profiles asked for, the plain path and the machine beside them.

    Yields the form or ``profile``, the engine, and what was found.
    """
    flops = 2.0 * MULTIPLY_ADDS[pool]
    machine = {name: gigaflops(kind) for name, kind in DTYPES.items()}
    plain = rate(folder, PLAIN, REFERENCE)
    for part in parts:
        form, _, engine = part.partition("/")
        name, precision = ENGINES[engine]
        if form == PROFILE:
            path = graph_file(folder, list(REWRITES)[-1])
            times = (
                profile_openvino(path, BATCHES[0], precision)
                if name == "openvino"
                else profile_onnxruntime(path, BATCHES[0])
            )
            yield form, engine, shares(times)
            continue
        found = dict(plain) if part == f"{PLAIN}/{REFERENCE}" else rate(folder, form, engine)
        ceiling = machine["bf16" if precision == "bf16" else "fp32"] * 1e9 / flops
        rate_found = found["events_per_second"]
        found["times_plain_path"] = round(rate_found / plain["events_per_second"], 2)
        found["share_of_ceiling"] = round(rate_found / ceiling, 2)
        found["plain_path"] = plain["events_per_second"]
        found["ceiling"] = round(ceiling, 1)
        print(f"{form:20s} {engine:17s} {found}", flush=True)
        yield form, engine, found


DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def main() -> None:
    """Export or measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("stage", choices=("graphs", "measure"))
    parser.add_argument("-g", "--graphs", type=Path, required=True, help="folder of the graphs")
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--pool", type=int, nargs=2, default=(3, 3))
    parser.add_argument(
        "--only", nargs="+", help="'FORM/ENGINE', 'profile/ENGINE', or a part of such a name"
    )
    options = parser.parse_args()
    pool = (options.pool[0], options.pool[1])
    if options.stage == "graphs":
        write_graphs(options.graphs, pool)
        return
    forms = [PLAIN, MODULES, *REWRITES, PROFILE]
    parts = [f"{form}/{engine}" for form in forms for engine in ENGINES]
    if options.only:
        parts = [part for wanted in options.only for part in parts if wanted in part]
    merged: dict[str, Any] = {"rates": {}, "profiles": {}}
    if options.output and options.output.exists():
        merged = json.loads(options.output.read_text(encoding="utf-8"))
    merged["pool"] = pool
    merged["device"] = {
        "processor": processor_name(),
        "machine": platform.machine(),
        "cores": granted_cores(),
        "onnxruntime": onnxruntime.__version__,
        "openvino": openvino.__version__.partition("-")[0],
        "torch": torch.__version__,
    }
    for form, engine, found in measure(options.graphs, parts, pool):
        if form == PROFILE:
            merged["profiles"][engine] = found
        else:
            merged["rates"].setdefault(form, {})[engine] = found
        if options.output:
            # Part by part: what is done stays if the rest is stopped.
            options.output.parent.mkdir(parents=True, exist_ok=True)
            options.output.write_text(json.dumps(merged, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(merged, indent=1))


if __name__ == "__main__":
    main()
