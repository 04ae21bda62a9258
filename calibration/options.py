"""What can be chosen of a quantisation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal

from calibration.halves import Half
from calibration.qdq import Target
from calibration.ranges import Method

__all__ = ["AUTO", "PRECISIONS", "Options", "Precision", "Progress"]

Precision = Literal["fp16", "bf16", "int8"]
PRECISIONS: Final[tuple[Precision, ...]] = ("fp16", "bf16", "int8")
AUTO: Final = "auto"
"""Method: the one that scores best."""
Progress = Callable[[str, int], Any]
"""Told what is being done, and how many more events or graphs are done."""


@dataclass(frozen=True)
class Options:
    """How a graph is made.

    Attributes
    ----------
    target
        Dialect of int8: ``cpu`` or ``tensorrt``.
    method
        Of `calibration.ranges`, or ``auto``.
    smooth
        For int8: move outliers of channels from activations into weights.
    correct
        Correct biases for what rounding does on average.
    rest
        For int8: what layers are in that are not in int8; None for fp16 on TensorRT and fp32 on
        processors.
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
    smooth: bool = True
    correct: bool = True
    rest: Literal["fp32", "fp16", "bf16"] | None = None
    events: int = 512
    judged: int = 256
    seed: int = 1
    keep: tuple[str, ...] = ()
    sensitivity: bool = False
    threads: int = 1

    @property
    def rest_name(self) -> Literal["fp32", "fp16", "bf16"]:
        """What is not in int8, by name."""
        return self.rest or ("fp16" if self.target == "tensorrt" else "fp32")

    @property
    def rest_half(self) -> Half | None:
        """The 16-bit format of what is not in int8; None for float32."""
        name = self.rest_name
        return None if name == "fp32" else name
