"""A graph made ready for int8: evened channels, and ranges by the best method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from calibration.correction import Builder, Means
from calibration.graph import Graph
from calibration.layers import Layer
from calibration.lowering import Int8, Rest
from calibration.observe import observe
from calibration.opening import Opener
from calibration.options import AUTO, Options, Progress
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
    builder
        Makes graphs with some groups or parts in int8.
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

    builder: Builder
    record: CalibrationRecord
    methods: dict[str, Score] = field(default_factory=dict)
    errors: tuple[GroupError, ...] | None = None
    reused: bool = False


def calibrate(
    graph: Graph,
    layers: tuple[Layer, ...],
    events: ParityEvents,
    judge: Judge,
    worth: Mapping[str, int],
    gate: float,
    *,
    last: Sequence[str],
    rest: Rest | None,
    opener: Opener,
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
    last
        The layers that make the results.
    rest
        What else is in 16 bits.
    opener
        Runs the graphs that are made.
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
            "correct": options.correct,
            "rest": options.rest_name,
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

    def watch(count: int) -> None:
        progress("calibration", count)

    if found is None:
        observed = observe(graph, layers, events, watch, options.threads)
        # As the record has them, so that a graph made from it is the same.
        maxima = packed(observed.channel_maxima) if options.smooth else {}
        wanted = wanted.model_copy(update={"maxima": maxima})
    if options.smooth:
        graph, layers = smooth(graph, layers, (found or wanted).maxima_arrays())
    means = None
    if options.correct:
        means = Means(graph, layers, last, events, opener, options.threads)

    def builder(ranges: Ranges) -> Builder:
        lowering = Int8(graph, layers, ranges, options.target, rest)
        return Builder(lowering, means, emulated=options.target != "cpu")

    if found is not None:
        return Calibrated(builder(found.ranges), found, reused=True)
    if options.smooth:
        observed = observe(graph, layers, events, watch, options.threads)

    def ranges(method: Method) -> dict[str, tuple[float, float]]:
        return {
            name: choose_range(histogram, method, options.target)
            for name, histogram in observed.histograms.items()
        }

    scores: dict[str, Score] = {}
    errors: tuple[GroupError, ...] | None = None
    if options.method == AUTO:
        quick = judge.some(QUICK_EVENTS)
        first = METHODS[0]

        def count(done: int) -> None:
            progress("graphs", done)

        errors = sensitivity(builder(ranges(first)), quick, worth, count)
        fit = frozenset(one.group for one in errors if one.score.worst <= gate) or frozenset(worth)
        for method in METHODS:
            scores[method] = judge.score(builder(ranges(method))(fit))
            count(1)
        best = min(METHODS, key=lambda method: scores[method].worst)
        if best != first:
            errors = sensitivity(builder(ranges(best)), quick, worth, count)
    else:
        best = options.method
    chosen = ranges(best)
    record = wanted.model_copy(update={"method": best, "ranges": chosen})
    return Calibrated(builder(chosen), record, scores, errors)
