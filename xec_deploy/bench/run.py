"""Measuring a bundle on this machine."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from xec_deploy import __version__
from xec_deploy.backends import (
    BACKENDS,
    DEFAULT_BATCH,
    RunOptions,
    create_backend,
    present_backends,
)
from xec_deploy.backends.cores import granted_cores, processor_name
from xec_deploy.backends.devices import parse_device
from xec_deploy.backends.measure import (
    RawEvents,
    events_per_second,
    request_size,
    sample_events,
)
from xec_deploy.backends.registry import get_engine
from xec_deploy.backends.tuning import tune
from xec_deploy.bench.products import matrix_flops, product_ceiling
from xec_deploy.bench.profile import op_classes
from xec_deploy.bench.results import BenchReport, EngineReport, Measurement
from xec_deploy.bundle import Bundle, open_bundle
from xec_deploy.bundle.engine import find_graph
from xec_deploy.errors import BundleError, CheckFailed, UsageError, XecError

__all__ = ["DEFAULT_SECONDS", "run_benchmark"]

DEFAULT_SECONDS: Final = 0.5
"""Measuring time of a setting."""
BATCHES: Final = (1, 8, 16, 32)
FP32: Final = "fp32"


def run_benchmark(
    bundle: Bundle | str | PathLike[str],
    *,
    data: Sequence[str] = (),
    backends: Sequence[str] | None = None,
    precisions: Sequence[str] | None = None,
    device: str = "cpu",
    seconds: float = DEFAULT_SECONDS,
    progress: Callable[[int], Any] | None = None,
) -> BenchReport:
    """Measure engines, precisions and batches, what limits them, and a whole inference.

    Parameters
    ----------
    bundle
        Bundle or its path.
    data
        Files of events for a whole inference, by stage.
    backends
        Engines; None for those that ``auto`` considers.
    precisions
        None for all of the bundle's graphs and what the engines make of fp32.
    device
        ``cpu`` or ``cuda``.
    seconds
        Measuring time of a setting.
    progress
        Called with 1 after each setting.

    Raises
    ------
    UsageError
        If there is no such engine, device or precision.
    MissingExtra
        If an engine that is named is not installed.
    """
    opened = bundle if isinstance(bundle, Bundle) else open_bundle(bundle)
    told = progress or (lambda _: None)
    names = list(dict.fromkeys(backends)) if backends else _considered(device)
    pairs = list(_pairs(opened, names, precisions, device))
    if not pairs:
        wanted = ", ".join(precisions or ())
        raise UsageError(
            f"no engine of {', '.join(names)} runs it in {wanted} on {device}",
            where=str(opened.path),
            fix=f"The bundle's graphs: {', '.join(opened.manifest.graphs) or FP32}.",
        )
    flops = matrix_flops(opened.graph(), sample_events(opened, 2))
    engines = tuple(
        _engine(opened, name, precision, device, seconds, flops, told) for name, precision in pairs
    )
    report = BenchReport(
        path=str(opened.path),
        bundle=opened.identity,
        mflop=round(flops / 1e6, 3),
        machine={
            "processor": processor_name() or platform.machine(),
            "cores": granted_cores(),
            "python": platform.python_version(),
            "xec-deploy": __version__,
        },
        engines=engines,
    )
    return replace(report, stages=_stages(opened, report, data, device)) if data else report


def _considered(device: str) -> list[str]:
    kind = parse_device(device).kind
    return [name for name in present_backends(device) if kind in BACKENDS[name].candidate_on]


def _pairs(
    bundle: Bundle, names: Sequence[str], precisions: Sequence[str] | None, device: str
) -> Iterator[tuple[str, str]]:
    """Return engines and precisions there is something to run for."""
    graphs = list(bundle.manifest.graphs) or [FP32]
    for name in names:
        engine = get_engine(name)
        own = [item for item in engine.computes_in(device) if item not in graphs]
        for precision in precisions or [*graphs, *own]:
            try:
                find_graph(bundle, name, precision, device, None)
            except UsageError:
                continue
            yield name, precision


def _engine(
    bundle: Bundle,
    name: str,
    precision: str,
    device: str,
    seconds: float,
    flops: float,
    told: Callable[[int], Any],
) -> EngineReport:
    """Measure one engine in one precision, also one that misses its gate, which says so."""
    engine = get_engine(name)
    failure = None
    try:
        first = tune(bundle, name, precision=precision, options=RunOptions(device)).options
    except CheckFailed as error:
        failure = str(error)
        first = RunOptions(device, precision=precision)
        if device == "cpu":
            first = replace(first, batch=DEFAULT_BATCH, sessions=granted_cores(), threads=1)
    except BundleError as error:
        told(1)
        return EngineReport(name, precision, engine.version, error=str(error))
    graph = find_graph(bundle, name, precision, device, None)
    settings = [first, *(replace(first, batch=size) for size in BATCHES)]
    if device == "cpu":
        # All cores on one batch, the other way to use them.
        settings.append(replace(first, sessions=1, threads=granted_cores()))
    measured = []
    for options in dict.fromkeys(settings):
        measured.append(_measure(bundle, name, graph, options, seconds))
        told(1)
    best = max(measured, key=lambda item: item.events_per_s)
    fastest = replace(first, batch=best.batch, sessions=best.sessions, threads=best.threads)
    ceiling = _ceiling(name, precision, fastest, seconds)
    told(1)
    return EngineReport(
        backend=name,
        precision=precision,
        version=engine.version,
        measurements=tuple(measured),
        ceiling_gflops=ceiling,
        ceiling_share=None
        if ceiling is None
        else round(best.events_per_s * flops / 1e9 / ceiling, 3),
        op_classes=op_classes(name, graph, fastest, _events(bundle, best.batch)),
        error=failure,
    )


def _measure(
    bundle: Bundle, name: str, graph: Path, options: RunOptions, seconds: float
) -> Measurement:
    backend = create_backend(name, graph, options)
    rate = events_per_second(backend, _events(bundle, request_size(backend)), seconds)
    run = backend.options
    return Measurement(run.batch or 1, run.sessions or 1, run.threads or 1, round(rate, 1))


def _events(bundle: Bundle, count: int) -> RawEvents:
    return sample_events(bundle, count)


def _ceiling(name: str, precision: str, options: RunOptions, seconds: float) -> float | None:
    """Return the rate of matrix products, where a graph of fp32 says what the engine does."""
    if precision != FP32 and precision not in get_engine(name).computes_in(options.device):
        return None
    try:
        return round(product_ceiling(name, options, seconds), 1)
    except XecError:
        return None


def _stages(
    bundle: Bundle, report: BenchReport, data: Sequence[str], device: str
) -> dict[str, float]:
    """Infer the data with the fastest settings, and return what each stage took."""
    # Late: most of the package.
    from xec_deploy.inference import infer  # noqa: PLC0415

    fastest = report.fastest
    if fastest is None or fastest.best is None:
        return {}
    with TemporaryDirectory() as folder:
        summary = infer(
            bundle,
            data,
            Path(folder) / "out",
            backend=fastest.backend,
            device=device,
            precision=fastest.precision,
            batch=fastest.best.batch,
            sessions=fastest.best.sessions,
            threads=fastest.best.threads,
        )
    events = sum(item.entries for item in summary.of("done"))
    total = summary.stages.get("total", 0.0)
    rate = {"events": float(events), "events_per_s": round(events / total, 1) if total else 0.0}
    return {**{name: round(value, 3) for name, value in summary.stages.items()}, **rate}
