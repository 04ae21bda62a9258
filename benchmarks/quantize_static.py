"""Error of onnxruntime's own quantiser, for ``benchmarks/quantize.py static``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)

from calibration.lowering import members
from calibration.task import Task
from xec_deploy.parity.events import ParityEvents

STATIC_EVENTS = 64
"""Events for onnxruntime's quantiser, which keeps activations in memory."""


class _Reader(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no types
    def __init__(self, events: ParityEvents, count: int) -> None:
        self._feeds = iter(
            [
                {"npho": events.npho[i : i + 1], "time": events.time[i : i + 1],
                 "dead": events.dead[i : i + 1]}
                for i in range(min(count, len(events)))
            ]
        )  # fmt: skip

    def get_next(self) -> dict[str, Any] | None:
        return next(self._feeds, None)


def static_quantiser(task: Task, low: frozenset[str], folder: Path) -> dict[str, Any]:
    """Score onnxruntime's quantize_static: everything, and the groups of our choice."""
    prepared = folder / "prepared.onnx"
    named = onnx.ModelProto()
    named.CopyFrom(task.graph.model)
    for node in named.graph.node:
        node.name = f"node_{node.output[0]}"
    onnx.save(named, prepared)
    ours = [f"node_{layer.node}" for layer in members(task.layers, low)]
    everything = [f"node_{layer.node}" for layer in task.layers]
    table: dict[str, Any] = {}
    for label, nodes in (("everything", everything), ("our groups", ours)):
        for kind, activation, symmetric in (
            ("uint8", QuantType.QUInt8, False),
            ("int8 symmetric", QuantType.QInt8, True),
        ):
            output = folder / "static.onnx"
            quantize_static(
                prepared,
                output,
                _Reader(task.calibration, STATIC_EVENTS),
                quant_format=QuantFormat.QDQ,
                activation_type=activation,
                weight_type=QuantType.QInt8,
                per_channel=True,
                nodes_to_quantize=nodes,
                op_types_to_quantize=["Conv", "MatMul", "Gemm"],
                calibrate_method=CalibrationMethod.MinMax,
                extra_options={
                    "ActivationSymmetric": symmetric,
                    "WeightSymmetric": True,
                    "QuantizeBias": False,
                },
            )
            score = task.judge.score(onnx.load(output))
            table[f"{label}, {kind}"] = score.to_dict()
            print(f"onnxruntime {label} {kind}: {score.worst:.4f}", flush=True)
    return table
