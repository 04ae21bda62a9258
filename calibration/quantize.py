"""From a bundle and events to a graph in lower precision that passes its gate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import onnx

from calibration.calibrated import calibrate
from calibration.graph import Graph
from calibration.halves import Half, convert, emulate
from calibration.layers import Layer, find_layers
from calibration.observe import multiply_adds
from calibration.options import Options, Precision, Progress
from calibration.record import CalibrationRecord
from calibration.score import Judge, Score
from calibration.search import QUICK_EVENTS, Choice, search, sensitivity
from calibration.selection import select_events, with_dead_channels
from calibration.simplify import prepare
from calibration.store import graph_name, stored_record, write_graph
from xec_deploy.bundle import Bundle
from xec_deploy.bundle.onnx_file import canonical_hash, load_onnx
from xec_deploy.errors import CheckFailed, UsageError, nearest
from xec_deploy.gates import load_gates

__all__ = ["Quantised", "quantize_bundle"]


@dataclass(frozen=True)
class Quantised:
    """What was made, and how it scored.

    Attributes
    ----------
    precision
        Name of the graph in the bundle.
    gate
        Of the precision [detector resolutions].
    choice
        Groups and scores.
    multiply_adds
        Of the layers that may be in low precision, an event.
    methods
        Score of each calibration method, where they were compared.
    record
        The calibration; None for 16-bit graphs, which need none.
    reused
        Whether the ranges came from the bundle.
    file
        The file's name in the bundle.
    """

    precision: str
    gate: float
    choice: Choice
    multiply_adds: int
    methods: dict[str, Score] = field(default_factory=dict)
    record: CalibrationRecord | None = None
    reused: bool = False
    file: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "precision": self.precision,
            "file": self.file,
            "gate": self.gate,
            "multiply_adds": self.multiply_adds,
            "methods": {name: score.to_dict() for name, score in self.methods.items()},
            "calibration": None
            if self.record is None
            else self.record.model_dump(mode="json", exclude={"ranges", "maxima"}),
            "reused": self.reused,
            **self.choice.to_dict(),
        }


def quantize_bundle(
    bundle: Bundle,
    precision: Precision,
    data: Sequence[str],
    options: Options | None = None,
    progress: Progress = lambda _text, _count: None,
) -> Quantised:
    """Make a graph of lower precision, judge it, and add it to the bundle.

    Parameters
    ----------
    bundle
        A bundle folder.
    precision
        fp16, bf16 or int8.
    data
        Files of events to calibrate and judge with.
    options
        See `Options`.
    progress
        Told what is being done.

    Raises
    ------
    UsageError, InputError
        If something asked for does not exist, or the events do not suffice.
    CheckFailed
        If no group of layers can be in this precision within the gate; nothing is written.
    """
    options = options or Options()
    if bundle.path.is_file() or bundle.manifest.kind != "regressor":
        raise UsageError(
            "only the folder of a regressor's bundle can be quantised",
            where=str(bundle.path),
            fix="Pass NAME.xec of xec-deploy export.",
        )
    name = graph_name(precision, options.target)
    gate = load_gates().of(precision)
    source = load_onnx(bundle.graph())
    graph = prepare(source)
    layers = _layers(graph, options)
    events = select_events(data, count=options.events, judged=options.judged, seed=options.seed)
    calibration = with_dead_channels(
        events.calibration, bundle.manifest.dead_channels.max_dead, options.seed
    )
    judge = Judge(
        source, bundle.manifest, events.judged, golden=bundle.golden, threads=options.threads
    )
    costs = multiply_adds(graph, layers, calibration)
    worth, parts = _worth(layers, costs), _parts(layers, costs)
    calibrated = errors = None
    if precision == "int8":
        calibrated = calibrate(
            graph,
            layers,
            calibration,
            judge,
            worth,
            gate,
            model_hash=canonical_hash(source),
            stored=stored_record(bundle, name),
            options=options,
            progress=progress,
        )
        errors = calibrated.errors
    # 16-bit graphs are judged by their emulation, which needs no kernels of the format.
    judged = calibrated.build if calibrated else _halves(graph, layers, precision, emulate)

    def count(done: int) -> None:
        progress("graphs", done)

    if options.sensitivity and errors is None:
        errors = sensitivity(judged, judge.some(QUICK_EVENTS), worth, count)
    choice = search(judged, judge, worth, gate, parts=parts, errors=errors, progress=count)
    if not choice.low:
        raise CheckFailed(
            f"no part of the network can be in {precision} within {gate:g} detector sigma; "
            f"with all of it the difference is {choice.everything.worst:.3g}",
            where=str(bundle.path),
            fix="Stay with fp32, or calibrate with more events.",
        )
    final = calibrated.build if calibrated else _halves(graph, layers, precision, convert)
    result = Quantised(
        precision=name,
        gate=gate,
        choice=choice,
        multiply_adds=sum(worth.values()),
        methods=calibrated.methods if calibrated else {},
        record=calibrated.record if calibrated else None,
        reused=calibrated.reused if calibrated else False,
        file=f"{name}.onnx",
    )
    write_graph(bundle, name, final(frozenset(choice.low)), _origin(result, len(events.judged)))
    return result


def _layers(graph: Graph, options: Options) -> tuple[Layer, ...]:
    """Return the layers that may be in low precision."""
    layers = find_layers(graph)
    groups = {layer.group for layer in layers}
    for name in options.keep:
        if name not in groups:
            raise UsageError(f"the network has no group {name!r}", fix=nearest(name, groups))
    return tuple(layer for layer in layers if layer.group not in options.keep)


def _worth(layers: Sequence[Layer], costs: dict[str, int]) -> dict[str, int]:
    """Return group -> multiply-adds an event."""
    worth: dict[str, int] = {}
    for layer in layers:
        worth[layer.group] = worth.get(layer.group, 0) + costs[layer.node]
    return worth


def _parts(layers: Sequence[Layer], costs: dict[str, int]) -> dict[str, dict[str, int]]:
    """Return group -> part -> multiply-adds an event."""
    parts: dict[str, dict[str, int]] = {}
    for layer in layers:
        members = parts.setdefault(layer.group, {})
        members[layer.part] = members.get(layer.part, 0) + costs[layer.node]
    return parts


def _halves(
    graph: Graph,
    layers: Sequence[Layer],
    precision: Precision,
    make: Callable[[Graph, Sequence[Layer], Half], onnx.ModelProto],
) -> Callable[[frozenset[str]], onnx.ModelProto]:
    assert precision != "int8"  # noqa: S101 - int8 is built from a calibration
    return lambda groups: make(
        graph,
        [layer for layer in layers if groups.intersection((layer.group, layer.part))],
        precision,
    )


def _origin(result: Quantised, judged: int) -> dict[str, Any]:
    """Return what the manifest says of where the graph comes from."""
    return {
        "judged": {"worst": result.choice.score.worst, "gate": result.gate, "events": judged},
        "float": list(result.choice.high),
        "calibration": None if result.record is None else result.record.model_dump(mode="json"),
    }
