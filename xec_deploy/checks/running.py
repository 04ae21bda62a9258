"""What shows only when a graph runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from xec_deploy.bundle import worst_difference
from xec_deploy.checks.registry import Finding, NotApplicable, check
from xec_deploy.checks.subject import Subject
from xec_deploy.gates import load_gates

__all__ = ["BATCHES", "MAX_BATCH", "example_inputs"]

BATCHES: Final = (1, 2, 7)
MAX_BATCH: Final = 64
ROWS: Final = 14
"""Events compared with each of the small batches."""
RELATIVE: Final = 1e-4
"""Allowed for outputs whose resolution is not known, of their largest value."""
SEED: Final = 19
_DTYPES: Final = {"tensor(float)": np.float32, "tensor(bool)": np.bool_, "tensor(int64)": np.int64}

Arrays = dict[str, NDArray[Any]]


@check("E19", static=False)
def batch_invariant(subject: Subject) -> Iterator[Finding]:
    """Batches of 1, 2, 7 and 64 events agree row by row within the gate of the precision.

    Protects from a batch baked into the graph (a Reshape that only knows the example's size, which
    parses and fails only at build or at run time) and from events that leak into their neighbours
    by a broadcast or a sum over the wrong axis. Run with onnxruntime on the bundle's golden events.
    """
    try:
        session = _session(subject)
    except Exception as error:
        # onnxruntime raises a dozen unrelated classes.
        if subject.precision == "bf16" and "NOT_IMPLEMENTED" in str(error):
            raise NotApplicable("onnxruntime has no kernels of bfloat16 on a CPU") from error
        yield Finding(f"onnxruntime cannot load the graph: {_line(error)}")
        return
    inputs = example_inputs(subject, session)
    try:
        reference = _run(session, inputs, MAX_BATCH, MAX_BATCH)
    except Exception as error:  # noqa: BLE001
        yield Finding(f"a batch of {MAX_BATCH} fails: {_line(error)}")
        return
    for batch in BATCHES:
        try:
            found = _run(session, inputs, batch, ROWS)
        except Exception as error:  # noqa: BLE001
            yield Finding(f"a batch of {batch} fails: {_line(error)}")
            continue
        yield from _compare(subject, reference, found, batch)


def example_inputs(subject: Subject, session: Any) -> Arrays:
    """Return :data:`MAX_BATCH` events for every input of a graph.

    Golden events where the graph takes raw ones and the bundle has them, random ones otherwise.
    """
    random = np.random.default_rng(SEED)
    golden = subject.golden
    events: Arrays = {}
    if golden is not None:
        rows = np.arange(MAX_BATCH) % len(golden)
        events = {"npho": golden.npho[rows], "time": golden.time[rows], "dead": golden.dead[rows]}
    inputs: Arrays = {}
    for value in session.get_inputs():
        tail = [size if isinstance(size, int) else 1 for size in value.shape[1:]]
        shape = (MAX_BATCH, *tail)
        dtype = _DTYPES.get(value.type)
        if dtype is None:
            raise NotApplicable(f"no events for an input of {value.type} ({value.name!r})")
        if value.name in events and events[value.name].shape == shape:
            inputs[value.name] = events[value.name]
        elif dtype is np.float32:
            inputs[value.name] = random.random(shape, dtype=np.float32)
        elif dtype is np.bool_:
            inputs[value.name] = random.random(shape) < 0.02
        else:
            inputs[value.name] = np.zeros(shape, dtype)
    return inputs


def _session(subject: Subject) -> Any:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    # At the highest level onnxruntime may crash on float16 graphs.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    return onnxruntime.InferenceSession(
        subject.path, sess_options=options, providers=["CPUExecutionProvider"]
    )


def _run(session: Any, inputs: Arrays, batch: int, rows: int) -> Arrays:
    names = [output.name for output in session.get_outputs()]
    parts: dict[str, list[NDArray[Any]]] = {name: [] for name in names}
    for start in range(0, rows, batch):
        chunk = {name: values[start : start + batch] for name, values in inputs.items()}
        for name, values in zip(names, session.run(names, chunk), strict=True):
            parts[name].append(values)
    return {name: np.concatenate(values) for name, values in parts.items()}


def _compare(subject: Subject, reference: Arrays, found: Arrays, batch: int) -> Iterator[Finding]:
    gate = load_gates().of(subject.precision or "fp32")
    for name, values in found.items():
        expected = reference[name]
        if len(values) != ROWS or values.shape[1:] != expected.shape[1:]:
            yield Finding(
                f"a batch of {batch} gives shape {values.shape} for {ROWS} events", tensor=name
            )
            continue
        difference, unit = _difference(subject, name, expected, values)
        if not difference <= (gate if unit else RELATIVE):
            yield Finding(
                f"batches of {batch} and {MAX_BATCH} differ by {difference:.2g} "
                f"{unit or 'of the largest value'}",
                tensor=name,
            )


def _difference(
    subject: Subject, name: str, expected: NDArray[Any], found: NDArray[Any]
) -> tuple[float, str]:
    """Return the largest difference and its unit, empty for a relative one."""
    manifest = subject.manifest
    if manifest is not None and name in manifest.output_names and name in manifest.graph_outputs:
        whole: Mapping[str, NDArray[np.float64]] = {name: expected.astype(np.float64)}
        rows = {name: expected[: len(found)].astype(np.float64)}
        alone = manifest.model_copy(update={"tasks": _only(manifest.tasks, name)})
        if alone.output_names == (name,):
            return worst_difference(alone, rows, {name: found}, whole)[name], "detector sigma"
    kept = np.isfinite(expected)
    scale = float(np.abs(expected[kept]).max()) if kept.any() else 0.0
    difference = np.abs(found.astype(np.float64) - expected[: len(found)])
    same = found == expected[: len(found)]
    return float(np.where(same, 0.0, difference).max(initial=0.0)) / max(scale, 1e-30), ""


def _only(tasks: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {task: record for task, record in tasks.items() if task == name}


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
