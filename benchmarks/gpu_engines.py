"""Measuring one engine: the device alone, requests, ROOT files, and the difference from float64."""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import uproot
from gpu_measure import parity, seconds_of, spread_of_rates
from gpu_plan import Request
from gpu_prepare import Prepared, prepared
from gpu_running import Findings
from torch import Tensor, nn

from xec_deploy import infer
from xec_deploy.backends import RunOptions, create_backend
from xec_deploy.backends.cores import granted_cores
from xec_deploy.backends.measure import events_per_second, request_size
from xec_deploy.backends.torch_precision import products_in
from xec_deploy.bundle import open_bundle
from xec_deploy.bundle.engine import find_graph
from xec_deploy.bundle.onnx_file import load_onnx
from xec_deploy.engines import EngineOptions, build_engine
from xec_deploy.engines.manifest import ENGINE_SUFFIX
from xec_deploy.engines.store import FOLDER
from xec_deploy.errors import CheckFailed
from xec_deploy.tensorrt import FLAVOURS, installed_flavours

__all__ = ["add_graph", "measure_backend", "measure_engine", "measure_module"]

STEMS = ("convolution", "hex_encoder.stem.0")
"""Groups of the large network that fp16 overflows in: named, a search of minutes is not needed."""


def measure_module(
    made: Prepared,
    request: Request,
    precision: str,
    found: Findings,
    folder: Path,
    *,
    compiled: bool,
) -> None:
    """Measure the network as research code runs it: the torch module of a checkpoint."""
    if made.checkpoint is None:
        sys.exit("there is no checkpoint of this network; pass --checkpoint")
    # Late: needs the extra train.
    from xec_deploy.export.graph import DeployedRegressor  # noqa: PLC0415
    from xec_train.checkpoint import load_regressor  # noqa: PLC0415

    loaded = load_regressor(made.checkpoint)
    module = DeployedRegressor(loaded.model, loaded.normalisation, loaded.log_transform)
    module = module.to(request.device).eval()
    found.add(parameters=sum(p.numel() for p in module.parameters()))
    work: nn.Module = module
    if compiled:
        # On a CPU only what comes before code is generated, which would take minutes.
        compiler = "inductor" if request.device != "cpu" else "eager"
        work = torch.compile(module, backend=compiler)
        found.add(compiler=compiler)
    names = [port.name for port in _ports(made)]

    def call(*inputs: Tensor) -> tuple[Tensor, ...]:
        with torch.autocast(request.device, torch.bfloat16, enabled=precision == "bf16"):
            return tuple(work(*inputs))

    with torch.no_grad(), products_in(precision):
        start = time.perf_counter()
        outputs = _in_chunks(call, made, request)
        found.add(first_run_seconds=round(time.perf_counter() - start, 1))
        found.add(parity=parity(made.bundle.manifest, precision, made.reference, outputs))
        rates: dict[int, float] = {}
        for batch in request.batches[-1:] if compiled else request.batches:
            inputs = _on_device(made.request(batch), request.device)
            taken = seconds_of(lambda given=inputs: call(*given), request.device, request.seconds)
            rates[batch] = batch / taken
            found.add(device_events_per_s=spread_of_rates(rates))
        _peak(request, found)
        best = max(rates, key=lambda batch: rates[batch])
        chunk = min(best, request.sizes.events)
        rates_of_files = [
            _plain_path(call, names, made.data, folder / "plain.root", chunk, request.device)
            for _ in range(2)
        ]
        found.add(end_to_end_events_per_s=round(max(rates_of_files), 1), chunk=chunk)


def _peak(request: Request, found: Findings) -> None:
    """Keep how much memory torch has taken so far."""
    if request.device != "cpu":
        found.add(torch_peak_gib=round(torch.cuda.max_memory_allocated() / 2**30, 2))


def _ports(made: Prepared) -> Any:
    return load_onnx(made.bundle.graph()).graph.output


def _on_device(events: tuple[Any, ...], device: str) -> list[Tensor]:
    return [torch.from_numpy(array).to(device) for array in events]


def _in_chunks(call: Callable[..., Any], made: Prepared, request: Request) -> dict[str, Any]:
    """Run the events of the comparison in batches of one size, as a compiled module wants it."""
    batch, count = request.batches[-1], len(made.raw[0])
    names = [port.name for port in _ports(made)]
    parts: list[list[Any]] = []
    for first in range(0, count, batch):
        npho, moments, dead = made.request(first + batch)
        rows = slice(first, first + batch)
        outputs = call(*_on_device((npho[rows], moments[rows], dead[rows]), request.device))
        parts.append([output.float().cpu().numpy() for output in outputs])
    joined = (np.concatenate(values)[:count] for values in zip(*parts, strict=True))
    return dict(zip(names, joined, strict=True))


def _plain_path(
    call: Callable[..., Any], names: list[str], data: Path, output: Path, chunk: int, device: str
) -> float:
    """Read, run and append chunk by chunk, write at the end, as research scripts do."""
    branches = ["npho", "relative_time", "dead"]
    rows: list[list[Any]] = []
    start = time.perf_counter()
    with uproot.open(data) as file:
        for part in file["tree"].iterate(branches, step_size=chunk, library="np"):
            native = (part[name].astype(part[name].dtype.newbyteorder("=")) for name in branches)
            outputs = call(*_on_device(tuple(native), device))
            rows.append([value.float().cpu().numpy() for value in outputs])
    values = [np.concatenate(parts) for parts in zip(*rows, strict=True)]
    with uproot.recreate(output) as file:
        columns = dict(zip(names, values, strict=True))
        tree = file.mktree("out", {n: (v.dtype, v.shape[1:]) for n, v in columns.items()})
        tree.extend(columns)
    return len(values[0]) / (time.perf_counter() - start)


def measure_backend(
    made: Prepared,
    request: Request,
    name: str,
    precision: str,
    found: Findings,
    folder: Path,
) -> None:
    """Measure a backend of this package: the device alone, requests, files, and its parity."""
    graphs: dict[str, Any] = {}
    best: tuple[float, RunOptions] | None = None
    for settings in _settings(name, request):
        options = RunOptions(request.device, precision=precision, **settings)
        label = ", ".join(f"{key} {value}" for key, value in settings.items())
        # Opened anew, because a bundle keeps its backends and they their memory.
        backend = _open(open_bundle(made.bundle.path), name, precision, options, found)
        run = backend.options
        device = None
        if hasattr(backend, "device_seconds") and request.device != "cpu":
            repeats = max(3, int(request.seconds / max(backend.device_seconds(2), 1e-6)))
            device = round((run.batch or 1) / backend.device_seconds(min(repeats, 500)), 1)
        events = made.request(4 * request_size(backend))
        rate = round(events_per_second(backend, events, request.seconds), 1)
        described = backend.describe()
        graphs[label] = {
            "device_events_per_s": device,
            "requests_events_per_s": rate,
            "cuda_graphs": described.get("cuda_graphs"),
            "batch": run.batch,
        }
        found.add(settings=graphs, engine={k: v for k, v in described.items() if k != "batch"})
        _peak(request, found)
        if best is None or rate > best[0]:
            best = rate, run
        if "parity" not in found.values:
            outputs = backend.run(*made.raw)
            manifest = made.bundle.manifest
            found.add(parity=parity(manifest, precision, made.reference, outputs))
        del backend
        gc.collect()
        if request.device != "cpu":
            torch.cuda.empty_cache()
    if best is None:
        return
    if found.values.get("refused"):
        return
    found.add(**_files(made, request, name, precision, best[1], folder))


def _settings(name: str, request: Request) -> Iterator[dict[str, Any]]:
    """Return batches, and the largest one without recorded graphs or with overlapping sessions."""
    if request.device == "cpu":
        yield {"batch": request.batches[-1], "threads": 1}
        return
    for batch in request.batches:
        yield {"batch": batch}
    yield {"batch": request.batches[-1], "cuda_graphs": False}
    if name == "onnxruntime":
        yield {"batch": request.batches[-1], "sessions": 2, "cuda_graphs": False}


def _open(bundle: Any, name: str, precision: str, options: RunOptions, found: Findings) -> Any:
    """Return a backend, also one that misses the gate on golden events, which is recorded."""
    try:
        return bundle.backend(name, precision=precision, options=options)
    except CheckFailed as error:
        found.add(refused=str(error.what))
        graph = find_graph(bundle, name, precision, options.device, None)
        return create_backend(name, graph, options)


def _files(
    made: Prepared,
    request: Request,
    name: str,
    precision: str,
    run: RunOptions,
    folder: Path,
) -> dict[str, Any]:
    """Infer the ROOT file twice; return the faster one, and what its stages took."""
    best: dict[str, Any] = {}
    for _ in range(2):
        start = time.perf_counter()
        summary = infer(
            made.bundle,
            made.data,
            folder / "results.root",
            backend=name,
            device=request.device,
            precision=precision,
            batch=run.batch,
            sessions=run.sessions,
            force=True,
        )
        (result,) = summary.files
        rate = result.entries / (time.perf_counter() - start)
        if rate > best.get("end_to_end_events_per_s", 0):
            stages_of = {key: round(value, 3) for key, value in summary.stages.items()}
            best = {"end_to_end_events_per_s": round(rate, 1), "stages_seconds": stages_of}
    return best


def add_graph(
    made: Prepared, request: Request, precision: str, folder: Path, found: Findings
) -> None:
    """Add the graph of a precision to the bundle, in which layers are chosen by the gate.

    Where that takes too long the stages that need it have no graph; torch then rounds every layer
    but the last ones.
    """
    name = "int8-trt" if precision == "int8" else precision
    if name in made.bundle.manifest.graphs:
        found.add(graph="was there")
        return
    if precision == "int8" and not installed_flavours():
        sys.exit("no TensorRT is installed that could run it")
    # Late: quantising is heavy, and only these stages do it.
    from calibration import Options, quantize_bundle  # noqa: PLC0415

    count = request.sizes.simulated
    options = Options(
        target="tensorrt",
        method="percentile",
        events=max(8, min(256, count // 6)),
        judged=max(4, min(64, count // 12)),
        keep=STEMS if request.network == "large" and request.bundle is None else (),
        threads=granted_cores(),
    )
    start = time.perf_counter()
    data = [str(folder / "simulated.root")]
    made_of = quantize_bundle(made.bundle, precision, data, options)  # type: ignore[arg-type]
    found.add(graph=made_of.precision, seconds_to_make=round(time.perf_counter() - start, 1))


def measure_engine(
    made: Prepared,
    request: Request,
    flavour: str,
    precision: str,
    found: Findings,
    folder: Path,
) -> None:
    """Build a TensorRT engine for the GPU here, and run it."""
    for other in FLAVOURS.keys() - {flavour}:
        # Of engines that fit, the backend takes that of the first flavour installed.
        for engine in (made.bundle.path / FOLDER).glob(f"*-{other}-*{ENGINE_SUFFIX}"):
            engine.unlink()
    first, *others = request.batches
    profiles = ((1, first, first), *((batch // 2, batch, batch) for batch in others))
    built = build_engine(
        made.bundle,
        precision,
        flavour=flavour,
        target="sm80" if request.device == "cpu" else None,
        options=EngineOptions(profiles=profiles),
        fallback=False,
        force=True,
    )
    found.add(
        build_seconds=round(built.manifest.build_seconds, 1),
        engine_mib=round(built.manifest.bytes / 2**20, 1),
        target=built.manifest.target,
        matrix_layers=built.manifest.layers.matrix,
        layers_from=built.manifest.layers.source,
    )
    if request.device == "cpu":
        found.add(ran="no GPU to run it on")
        return
    measure_backend(prepared(folder), request, "tensorrt", precision, found, folder)
