"""What ``gpu_evidence.py`` measures, and in which order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gpu_running import Stage

__all__ = ["Request", "Sizes", "stages"]

FLAVOURS = ("tensorrt", "rtx")
LIMITS = {"graph": 100, "bf16": 120}
"""Seconds of stages that search or compile, by the end of their names."""
ENGINE_PRECISIONS = ("fp32", "fp16", "bf16", "int8")


@dataclass(frozen=True)
class Sizes:
    """How much is measured.

    Attributes
    ----------
    simulated
        Different events; the first ``compared`` of them are compared with float64.
    compared
        Events of the comparison.
    events
        Of the ROOT file that is inferred, which repeats them.
    epochs
        Of the training of the heads.
    """

    simulated: int
    compared: int
    events: int
    epochs: int


@dataclass(frozen=True)
class Request:
    """What was asked for on the command line."""

    device: str
    network: str
    bundle: Path | None
    checkpoint: Path | None
    sizes: Sizes
    batches: tuple[int, ...]
    seconds: float
    product_size: int
    copy_mib: int


def stages(request: Request) -> list[Stage]:
    """Return all stages in order, those that say most first."""
    ready = ("prepare",)
    names = (
        *("eager-fp32", "torch-fp32", "torch-tf32", "onnxruntime-fp32", "compile-bf16"),
        *("eager-tf32", "bf16-graph", "torch-bf16", "fp16-graph", "torch-fp16"),
        *("onnxruntime-fp16", "onnxruntime-tf32", "int8-graph"),
    )
    every = [
        Stage("versions", 60),
        Stage("prepare", 240, ("versions",)),
        Stage("ceilings", 60, ("versions",)),
        *(Stage(name, LIMITS.get(name.partition("-")[2], 60), ready) for name in names),
        *(stage for flavour in FLAVOURS for stage in _engine_stages(flavour)),
    ]
    if request.device == "cpu":
        return [stage for stage in every if not stage.name.endswith("tf32")]
    return every


def _engine_stages(flavour: str) -> Iterator[Stage]:
    yield Stage(f"{flavour}-library", 60, ("prepare",))
    for precision in ENGINE_PRECISIONS:
        yield Stage(f"{flavour}-{precision}", 120, (f"{flavour}-library",))
