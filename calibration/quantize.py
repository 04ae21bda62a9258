"""From a bundle and events to a graph in lower precision that passes its gate."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import onnx

from calibration.graph import Graph
from calibration.halves import Half, convert, emulate
from calibration.layers import Layer, find_layers
from calibration.observe import Observation, multiply_adds, observe
from calibration.qdq import Target, quantise_layers
from calibration.ranges import METHODS, Method, choose_range
from calibration.record import CalibrationRecord, reusable, versions
from calibration.score import Judge, Score
from calibration.search import Choice, search
from calibration.selection import Selection, data_hash, select_events
from calibration.simplify import prepare
from calibration.store import graph_name, stored_record, write_graph
from xec_deploy.bundle import Bundle
from xec_deploy.bundle.onnx_file import canonical_hash, load_onnx
from xec_deploy.errors import CheckFailed, UsageError, nearest
from xec_deploy.gates import load_gates

__all__ = ["AUTO", "PRECISIONS", "Options", "Precision", "Quantised", "quantize_bundle"]

logger = logging.getLogger(__name__)

Precision = Literal["fp16", "bf16", "int8"]
PRECISIONS: Final[tuple[Precision, ...]] = ("fp16", "bf16", "int8")
AUTO: Final = "auto"
"""Method: the one that scores best with everything quantised."""
Progress = Callable[[str, int], Any]
"""Told what is being done, and how many events or graphs are done."""


@dataclass(frozen=True)
class Options:
    """How a graph is made.

    Attributes
    ----------
    target
        Dialect of int8: ``cpu`` or ``tensorrt``.
    method
        Of `calibration.ranges`, or ``auto``.
    events, judged
        Events to calibrate with and to judge on.
    seed
        Of their choice.
    keep
        Groups that stay in float whatever they score.
    sensitivity
        Measure every group alone even if all together pass.
    threads
        For ONNX Runtime.
    """

    target: Target = "cpu"
    method: Method | Literal["auto"] = AUTO
    events: int = 128
    judged: int = 256
    seed: int = 1
    keep: tuple[str, ...] = ()
    sensitivity: bool = False
    threads: int = 1


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
        Of the whole network and in low precision, an event.
    methods
        Score of each calibration method with everything quantised, where they were compared.
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
    multiply_adds: tuple[int, int]
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
            "multiply_adds": {"all": self.multiply_adds[0], "low": self.multiply_adds[1]},
            "methods": {name: score.to_dict() for name, score in self.methods.items()},
            "calibration": None
            if self.record is None
            else self.record.model_dump(mode="json", exclude={"ranges"}),
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
    work = _Work.open(bundle, data, options, progress)
    if precision == "int8":
        record, scores, reused = work.calibrate(name)
        graph = work.build_int8(record.ranges)
    else:
        record, scores, reused = None, {}, False
        graph = work.build_half(precision, emulated=True)
    choice = search(
        graph,
        work.judge,
        work.worth(),
        gate,
        always=options.sensitivity,
        progress=lambda count: progress("graphs", count),
    )
    if not choice.low:
        raise CheckFailed(
            f"no part of the network can be in {precision} within {gate:g} detector sigma; "
            f"with all of it the difference is {choice.everything.worst:.3g}",
            where=str(bundle.path),
            fix="Stay with fp32, or look for the cause with --sensitivity.",
        )
    final = graph if precision == "int8" else work.build_half(precision, emulated=False)
    low = sum(work.worth()[group] for group in choice.low)
    result = Quantised(
        precision=name,
        gate=gate,
        choice=choice,
        multiply_adds=(sum(work.worth().values()), low),
        methods=scores,
        record=record,
        reused=reused,
        file=f"{name}.onnx",
    )
    write_graph(bundle, name, final(frozenset(choice.low)), _origin(result, work))
    return result


def _origin(result: Quantised, work: _Work) -> dict[str, Any]:
    """Return what the manifest says of where the graph comes from."""
    return {
        "judged": {
            "worst": result.choice.score.worst,
            "gate": result.gate,
            "events": len(work.selection.judged),
        },
        "float_groups": list(result.choice.high),
        "calibration": None if result.record is None else result.record.model_dump(mode="json"),
    }


@dataclass
class _Work:
    """A graph in the form that is calibrated, its layers, the events and the judge."""

    bundle: Bundle
    source: onnx.ModelProto
    graph: Graph
    layers: tuple[Layer, ...]
    selection: Selection
    judge: Judge
    options: Options
    progress: Progress
    observation: Observation | None = None
    costs: dict[str, int] = field(default_factory=dict)

    @classmethod
    def open(
        cls, bundle: Bundle, data: Sequence[str], options: Options, progress: Progress
    ) -> _Work:
        source = load_onnx(bundle.graph())
        graph = prepare(source)
        layers = find_layers(graph)
        groups = {layer.group for layer in layers}
        for name in options.keep:
            if name not in groups:
                raise UsageError(f"the network has no group {name!r}", fix=nearest(name, groups))
        layers = tuple(layer for layer in layers if layer.group not in options.keep)
        selection = select_events(
            data, count=options.events, judged=options.judged, seed=options.seed
        )
        progress("reference", 0)
        judge = Judge(source, bundle.manifest, selection.judged, options.threads)
        work = cls(bundle, source, graph, layers, selection, judge, options, progress)
        work.costs = multiply_adds(graph, layers, selection.calibration)
        return work

    def worth(self) -> dict[str, int]:
        """Return group -> multiply-adds an event."""
        worth: dict[str, int] = {}
        for layer in self.layers:
            worth[layer.group] = worth.get(layer.group, 0) + self.costs[layer.node]
        return worth

    def in_groups(self, groups: frozenset[str]) -> list[Layer]:
        return [layer for layer in self.layers if layer.group in groups]

    def build_int8(
        self, ranges: Mapping[str, tuple[float, float]]
    ) -> Callable[[frozenset[str]], onnx.ModelProto]:
        return lambda groups: quantise_layers(
            self.graph, self.in_groups(groups), ranges, self.options.target
        )

    def build_half(
        self, half: Half, *, emulated: bool
    ) -> Callable[[frozenset[str]], onnx.ModelProto]:
        make = emulate if emulated else convert
        return lambda groups: make(self.graph, self.in_groups(groups), half)

    def calibrate(self, name: str) -> tuple[CalibrationRecord, dict[str, Score], bool]:
        """Return the ranges (the bundle's, if they were measured alike, else new ones).

        Also the scores of the methods where they were compared, and whether ranges are reused.
        """
        scores: dict[str, Score] = {}
        chosen = self.options.method
        wanted = self._record(chosen, {})
        found = reusable(stored_record(self.bundle, name), wanted)
        if found is not None:
            logger.info("%s: ranges of the bundle are reused", self.bundle.path)
            return found, scores, True
        observed = self._observe()
        if chosen == AUTO:
            everything = frozenset(layer.group for layer in self.layers)
            for method in METHODS:
                ranges = self._ranges(observed, method)
                scores[method] = self.judge.score(self.build_int8(ranges)(everything))
                self.progress("graphs", 1)
            best: Method = min(METHODS, key=lambda method: scores[method].worst)
        else:
            best = chosen
        return self._record(chosen, self._ranges(observed, best), best), scores, False

    def _observe(self) -> Observation:
        if self.observation is None:
            self.observation = observe(
                self.graph,
                self.layers,
                self.selection.calibration,
                lambda count: self.progress("calibration", count),
                self.options.threads,
            )
        return self.observation

    def _ranges(self, observed: Observation, method: Method) -> dict[str, tuple[float, float]]:
        target = self.options.target
        return {
            tensor: choose_range(histogram, method, target)
            for tensor, histogram in observed.histograms.items()
        }

    def _record(
        self, asked: str, ranges: dict[str, tuple[float, float]], method: str | None = None
    ) -> CalibrationRecord:
        return CalibrationRecord(
            asked=asked,
            method=method or "",
            target=self.options.target,
            options={"seed": self.options.seed, "keep": sorted(self.options.keep)},
            data_sha256=data_hash(self.selection.calibration),
            events=len(self.selection.calibration),
            sources=self.selection.calibration.sources,
            model_canonical_sha256=canonical_hash(self.source),
            versions=versions(),
            ranges=ranges,
        )
