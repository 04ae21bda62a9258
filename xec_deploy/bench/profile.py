"""Where an engine's time goes, by class of operators."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from xec_deploy.backends import RunOptions
from xec_deploy.backends.measure import RawEvents
from xec_deploy.bench.results import OpClass

__all__ = ["op_classes"]

RUNS: Final = 5
LARGEST_OPS: Final = 4

_CLASSES: Final = {
    "matrix products": (
        "matmul gemm fullyconnected einsum attention scaleddotproductattention multiheadattention"
    ),
    "convolutions": "conv convolution groupconvolution convtranspose deconvolution",
    "normalisation": (
        "layernormalization batchnormalization instancenormalization groupnormalization mvn "
        "normalizel2 rms"
    ),
    "activations": "gelu relu sigmoid tanh erf softmax elu softplus",
    "reductions and pooling": "reduce pool",
    "elementwise": (
        "eltwise subgraph add sub mul div sqrt pow exp log abs neg clip where select min max "
        "equal less greater and or not isnan isinf cos sin atan reciprocal floor round sign math "
        "isfinite clamp"
    ),
    "layout and copies": (
        "transpose reorder reshape gather concat split slice stridedslice expand broadcast pad "
        "squeeze unsqueeze tile cast convert shape identity input output constant const resize "
        "interpolate scatter range flatten memcpy shapeof parameter result"
    ),
}
_WORDS: Final = {word: name for name, words in _CLASSES.items() for word in words.split()}


def op_classes(
    name: str, graph: Path, options: RunOptions, events: RawEvents
) -> tuple[OpClass, ...]:
    """Return shares of the time, largest first; empty for an engine that does not say.

    Measured on one session: sessions do the same work.
    """
    profiler = _PROFILERS.get(name)
    if profiler is None or options.device != "cpu":
        return ()
    single = RunOptions(options.device, options.batch, 1, options.threads, options.precision)
    times = profiler(graph, single, events)
    total = sum(times.values()) or 1.0
    grouped: dict[str, dict[str, float]] = {}
    for operator, seconds in times.most_common():
        grouped.setdefault(class_of(operator), {})[operator] = round(seconds / total, 4)
    found = [
        OpClass(label, round(sum(shares.values()), 4), dict(list(shares.items())[:LARGEST_OPS]))
        for label, shares in grouped.items()
    ]
    return tuple(sorted(found, key=lambda item: -item.share))


def class_of(operator: str) -> str:
    """Return the class of an engine's operator, which may be a joined one (``BiasGelu``)."""
    plain = operator.lower()
    if plain in _WORDS:
        return _WORDS[plain]
    # The longest word it contains: "fusedmatmul", "skiplayernormalization", "reducesum".
    contained = [word for word in _WORDS if word in plain]
    return _WORDS[max(contained, key=len)] if contained else "other"


def _onnxruntime(graph: Path, options: RunOptions, events: RawEvents) -> Counter[str]:
    from xec_deploy.backends.onnxruntime_cpu import load_session, session_options  # noqa: PLC0415

    times: Counter[str] = Counter()
    with TemporaryDirectory() as folder:
        settings = session_options(options.threads or 1, options.precision)
        settings.enable_profiling = True
        settings.profile_file_prefix = str(Path(folder) / "profile")
        session = load_session(graph, settings, "CPUExecutionProvider")
        inputs = dict(zip(("npho", "time", "dead"), events, strict=True))
        given = {value.name: inputs[value.name] for value in session.get_inputs()}
        for _ in range(RUNS + 1):
            session.run(None, given)
        records = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    for record in records:
        if record.get("cat") == "Node" and record["name"].endswith("_kernel_time"):
            times[record["args"]["op_name"]] += record["dur"] / 1e6
    return times


def _openvino(graph: Path, options: RunOptions, events: RawEvents) -> Counter[str]:
    from xec_deploy.backends.openvino_cpu import OpenVinoBackend  # noqa: PLC0415

    times: Counter[str] = Counter()
    backend = OpenVinoBackend(graph, options, profile=True)
    for run in range(RUNS + 1):
        backend.run(*events)
        if run == 0:
            continue
        for node in backend.profile():
            times[node.node_type] += node.real_time.total_seconds()
    return times


_PROFILERS: Final[dict[str, Callable[[Path, RunOptions, RawEvents], Counter[str]]]] = {
    "onnxruntime": _onnxruntime,
    "openvino": _openvino,
}
