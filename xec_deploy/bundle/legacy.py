"""Graphs for existing callers: normalised events in, what the heads emit out.

Such a caller normalises itself and undoes logarithms itself.  Here both are graphs too, put before
and behind the network when a bundle of this kind is run.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from xec_deploy.bundle.compose import embed_manifest, join
from xec_deploy.bundle.manifest import LEGACY_INPUT, LEGACY_OUTPUT, Manifest
from xec_deploy.bundle.onnx_builder import BATCH_AXIS, GraphBuilder
from xec_deploy.detector.constants import INVALID_ABOVE, N_SENSORS
from xec_deploy.normalisation import Normalisation
from xec_deploy.normalisation.definition import ANSCOMBE_OFFSET

__all__ = ["normalisation_graph", "raw_graph"]

LARGEST = float(np.finfo(np.float32).max)


def raw_graph(network: onnx.ModelProto, manifest: Manifest) -> onnx.ModelProto:
    """Return a graph of raw events and physical quantities around a network of normalised ones.

    ``manifest`` is the network's, with io legacy; that of the graph says io raw.
    """
    before = normalisation_graph(manifest.normalisation)
    joined = join(before, network, {})
    graph = joined.graph
    ports = []
    for task, record in manifest.tasks.items():
        width = len(record.outputs)
        emitted = LEGACY_OUTPUT + task
        value, sigma = emitted, None
        if record.has_sigma:
            value, log_variance = f"undo/{task}/mean", f"undo/{task}/log_variance"
            nodes = [
                *_columns(graph, emitted, value, 0, width),
                *_columns(graph, emitted, log_variance, width, 2 * width),
            ]
            half = _constant(graph, f"undo/{task}/half", np.float32(0.5))
            sigma = f"undo/{task}/sigma"
            nodes += [
                helper.make_node("Mul", [log_variance, half], [f"undo/{task}/log_sigma"]),
                helper.make_node("Exp", [f"undo/{task}/log_sigma"], [sigma]),
            ]
            graph.node.extend(nodes)
        if record.log_transform:
            graph.node.append(helper.make_node("Exp", [value], [f"undo/{task}/value"]))
            value = f"undo/{task}/value"
            if sigma is not None:
                graph.node.append(helper.make_node("Mul", [value, sigma], [f"undo/{task}/spread"]))
                sigma = f"undo/{task}/spread"
        for name, source in ((task, value), (f"{task}_sigma", sigma)):
            if source is not None:
                graph.node.append(helper.make_node("Identity", [source], [name]))
                ports.append(
                    helper.make_tensor_value_info(name, TensorProto.FLOAT, [BATCH_AXIS, width])
                )
    del graph.output[:]
    graph.output.extend(ports)
    embed_manifest(joined, manifest.model_copy(update={"io": "raw"}))
    return joined


def _columns(
    graph: onnx.GraphProto, source: str, name: str, first: int, last: int
) -> list[onnx.NodeProto]:
    bounds = [
        _constant(graph, f"{name}/{label}", np.array([value], np.int64))
        for label, value in (("first", first), ("last", last), ("axis", 1))
    ]
    return [helper.make_node("Slice", [source, *bounds], [name])]


def _constant(graph: onnx.GraphProto, name: str, value: np.generic | np.ndarray) -> str:
    graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
    return name


def normalisation_graph(n: Normalisation) -> onnx.ModelProto:
    """Return raw events to normalised ones (batch, 4760, 2), as a graph of its own.

    By the rules of :mod:`xec_deploy.normalisation.definition`.
    """
    b = GraphBuilder("normalise/")
    zero = b.constant(0.0)
    alive = b.add("Not", "dead")
    npho_valid = b.add("And", _within(b, "npho", -LARGEST, INVALID_ABOVE), alive)
    in_domain = npho_valid
    if np.isfinite(n.domain_minimum):
        above = b.add("GreaterOrEqual", "npho", b.constant(n.domain_minimum))
        in_domain = b.add("And", npho_valid, above)
    npho = b.add(
        "Where", in_domain, _transform(b, b.add("Where", in_domain, "npho", zero), n), zero
    )
    npho = b.add("Where", npho_valid, npho, b.constant(n.sentinel_npho))
    bright = b.add("GreaterOrEqual", "npho", b.constant(n.npho_threshold))
    time_valid = b.add(
        "And",
        b.add("And", npho_valid, bright),
        _within(b, "time", -INVALID_ABOVE, INVALID_ABOVE),
    )
    time = b.add("Div", b.add("Where", time_valid, "time", zero), b.constant(n.time_scale))
    time = b.add("Sub", time, b.constant(n.time_shift))
    time = b.add("Where", time_valid, time, b.constant(n.sentinel_time))
    columns = [b.add("Unsqueeze", value, b.indices(2)) for value in (npho, time)]
    events = b.add("Concat", *columns, axis=2)
    return b.model([(LEGACY_INPUT, events, "float32", (N_SENSORS, 2))], "normalisation")


def _within(b: GraphBuilder, values: str, low: float, high: float) -> str:
    """Return where values lie in a range; comparisons with NaN are false."""
    return b.add(
        "And",
        b.add("GreaterOrEqual", values, b.constant(low)),
        b.add("LessOrEqual", values, b.constant(high)),
    )


def _transform(b: GraphBuilder, npho: str, n: Normalisation) -> str:
    match n.npho_scheme:
        case "log1p":
            ratio = b.add("Div", npho, b.constant(n.npho_scale))
            logarithm = b.add("Log", b.add("Add", b.constant(1.0), ratio))
            return b.add("Div", logarithm, b.constant(n.npho_scale2))
        case "sqrt":
            return b.add("Sqrt", b.add("Div", npho, b.constant(n.npho_scale)))
        case "anscombe":
            shifted = b.add("Add", npho, b.constant(ANSCOMBE_OFFSET))
            return b.add("Sqrt", b.add("Div", shifted, b.constant(n.npho_scale + ANSCOMBE_OFFSET)))
        case "linear":
            return b.add("Div", npho, b.constant(n.npho_scale))
