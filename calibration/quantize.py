"""From a bundle and events to a graph in lower precision that passes its gate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from calibration.options import Options, Precision, Progress
from calibration.record import CalibrationRecord
from calibration.score import Score
from calibration.search import QUICK_EVENTS, Choice, search, sensitivity
from calibration.store import graph_name, stored_record, write_graph
from calibration.task import Task
from xec_deploy.bundle import Bundle
from xec_deploy.bundle.onnx_file import state_rest
from xec_deploy.errors import CheckFailed, UsageError
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
    rest
        What is in float of an int8 graph: fp32, or fp16 or bf16 as far as their gate allows.
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
    rest: str = "fp32"
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
            "rest": self.rest,
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
    gate = load_gates().of(precision)
    task = Task(bundle, data, precision, options, progress)
    name = graph_name(precision, options.target)
    if precision == "int8" and options.target == "cpu" and options.rest == "fp16":
        raise UsageError(
            "no processor computes in fp16 here", fix="Pass --rest bf16 or --rest fp32."
        )
    if not task.layers:
        raise CheckFailed(
            "int8 beside bf16 pays for no layer of the network: weights are few beside activations",
            where=str(bundle.path),
            fix="Pass --rest fp32, or --precision bf16.",
        )
    calibrated = errors = None
    if precision == "int8":
        rest = task.rest(options.rest_half)
        calibrated = task.calibrated(gate, rest, stored_record(bundle, name))
        builder, layers, errors = calibrated.builder, task.layers, calibrated.errors
    else:
        builder, layers = task.halves(precision), task.inner
    worth = task.worth(layers)
    if options.sensitivity and errors is None:
        errors = sensitivity(builder, task.judge.some(QUICK_EVENTS), worth, task.count)
    choice = search(
        builder,
        task.judge,
        worth,
        gate,
        parts=task.parts(layers),
        errors=errors,
        progress=task.count,
    )
    if not choice.low:
        raise CheckFailed(
            f"no part of the network can be in {precision} within {gate:g} detector sigma; "
            f"with all of it the difference is {choice.everything.worst:.3g}",
            where=str(bundle.path),
            fix="Stay with fp32, or calibrate with more events.",
        )
    result = Quantised(
        precision=name,
        gate=gate,
        choice=choice,
        multiply_adds=sum(worth.values()),
        methods=calibrated.methods if calibrated else {},
        record=calibrated.record if calibrated else None,
        reused=calibrated.reused if calibrated else False,
        rest=options.rest_name if precision == "int8" else "fp32",
        file=f"{name}.onnx",
    )
    model = builder.build(frozenset(choice.low), final=True)
    if task.with_bf16:
        state_rest(model, result.rest)
    write_graph(bundle, name, model, _origin(result, len(task.judge.events), options))
    return result


def _origin(result: Quantised, judged: int, options: Options) -> dict[str, Any]:
    """Return what the manifest says of where the graph comes from."""
    return {
        "judged": {"worst": result.choice.score.worst, "gate": result.gate, "events": judged},
        "float": list(result.choice.high),
        "rest": result.rest,
        "biases_corrected": options.correct,
        "calibration": None if result.record is None else result.record.model_dump(mode="json"),
    }
