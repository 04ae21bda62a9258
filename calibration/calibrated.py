"""A graph made ready for int8: evened channels, and ranges by the best method."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import onnx

from calibration.graph import Graph
from calibration.layers import Layer
from calibration.observe import observe
from calibration.options import AUTO, Options, Progress
from calibration.qdq import quantise_layers
from calibration.ranges import METHODS, Method, choose_range
from calibration.record import CalibrationRecord, packed, reusable, versions
from calibration.score import Judge, Score
from calibration.search import QUICK_EVENTS, GroupError, sensitivity
from calibration.selection import data_hash
from calibration.smoothing import smooth
from xec_deploy.parity.events import ParityEvents

__all__ = ["Calibrated", "calibrate"]

Ranges = Mapping[str, tuple[float, float]]


@dataclass(frozen=True)
class Calibrated:
    """What int8 graphs are built from.

    Attributes
    ----------
    graph, layers
        With evened channels where that was asked for.
    record
        Ranges and what they depend on.
    methods
        Score of each method where they were compared: with the groups in int8 that pass the gate
        alone, as the others hide all differences.
    errors
        Of each group alone, where they were measured for that.
    reused
        Whether the ranges are those of an earlier record.
    """

    graph: Graph
    layers: tuple[Layer, ...]
    record: CalibrationRecord
    target: str
    methods: dict[str, Score] = field(default_factory=dict)
    errors: tuple[GroupError, ...] | None = None
    reused: bool = False

    def build(self, groups: frozenset[str]) -> onnx.ModelProto:
        """Return the graph with some groups or parts in int8."""
        return _build(self.graph, self.layers, self.record.ranges, self.target, groups)


def calibrate(
    graph: Graph,
    layers: tuple[Layer, ...],
    events: ParityEvents,
    judge: Judge,
    worth: Mapping[str, int],
    gate: float,
    *,
    model_hash: str,
    stored: Mapping[str, Any] | None,
    options: Options,
    progress: Progress,
) -> Calibrated:
    """Measure ranges, or take those of a record that answers the same question.

    Parameters
    ----------
    graph, layers
        The prepared fp32 graph.
    events
        Calibration events.
    judge, worth, gate
        To compare methods, see `calibration.search.search`.
    model_hash
        Of the fp32 graph, for the record.
    stored
        A record in the bundle.
    options, progress
        As for `calibration.quantize_bundle`.
    """
    wanted = CalibrationRecord(
        asked=options.method,
        method="",
        target=options.target,
        options={
            "seed": options.seed,
            "smooth": options.smooth,
            "keep": sorted(options.keep),
        },
        data_sha256=data_hash(events),
        events=len(events),
        sources=events.sources,
        model_canonical_sha256=model_hash,
        versions=versions(),
        ranges={},
        maxima={},
    )
    found = reusable(stored, wanted)
    if found is not None:
        if options.smooth:
            graph, layers = smooth(graph, layers, found.maxima_arrays())
        return Calibrated(graph, layers, found, options.target, reused=True)

    def watch(count: int) -> None:
        progress("calibration", count)

    observed = observe(graph, layers, events, watch, options.threads)
    if options.smooth:
        # As the record has them, so that a graph made from it is the same.
        wanted = wanted.model_copy(update={"maxima": packed(observed.channel_maxima)})
        graph, layers = smooth(graph, layers, wanted.maxima_arrays())
        observed = observe(graph, layers, events, watch, options.threads)

    def ranges(method: Method) -> dict[str, tuple[float, float]]:
        return {
            name: choose_range(histogram, method, options.target)
            for name, histogram in observed.histograms.items()
        }

    def builder(method: Method) -> Callable[[frozenset[str]], onnx.ModelProto]:
        chosen = ranges(method)
        return lambda groups: _build(graph, layers, chosen, options.target, groups)

    scores: dict[str, Score] = {}
    errors: tuple[GroupError, ...] | None = None
    if options.method == AUTO:
        quick = judge.some(QUICK_EVENTS)
        first = METHODS[0]

        def count(done: int) -> None:
            progress("graphs", done)

        errors = sensitivity(builder(first), quick, worth, count)
        fit = frozenset(one.group for one in errors if one.score.worst <= gate) or frozenset(worth)
        for method in METHODS:
            scores[method] = judge.score(builder(method)(fit))
            count(1)
        best = min(METHODS, key=lambda method: scores[method].worst)
        if best != first:
            errors = sensitivity(builder(best), quick, worth, count)
    else:
        best = options.method
    record = wanted.model_copy(update={"method": best, "ranges": ranges(best)})
    return Calibrated(graph, layers, record, options.target, scores, errors)


def _build(
    graph: Graph,
    layers: tuple[Layer, ...],
    ranges: Ranges,
    target: Any,
    groups: frozenset[str],
) -> onnx.ModelProto:
    chosen = [layer for layer in layers if groups.intersection((layer.group, layer.part))]
    return quantise_layers(graph, chosen, ranges, target)
