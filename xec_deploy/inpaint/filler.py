"""Filler graphs: raw events in, raw events with filled channels out."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Final, Literal, TypeAlias

import onnx

from xec_deploy.bundle.onnx_builder import GraphBuilder
from xec_deploy.detector.constants import INVALID, N_SENSORS
from xec_deploy.inpaint.neighbours import Surroundings, neighbours, surroundings
from xec_deploy.inpaint.solid_angle import solid_angle

__all__ = ["FILLED", "FILLERS", "Filler", "FillerName", "filler_graph"]

FillerName = Literal["solid-angle", "neighbours"]
Filler: TypeAlias = Callable[[GraphBuilder, Surroundings], str]

FILLERS: Final[dict[FillerName, Filler]] = {
    "solid-angle": solid_angle,
    "neighbours": neighbours,
}
"""What adds an estimate (batch, 4760) of every sensor's photons to a graph, by name."""
FILLED: Final = {"npho": "npho_filled", "time": "time_filled", "dead": "dead_left"}
"""Outputs of a filler, by the input of the network they are given to."""


@lru_cache
def filler_graph(name: FillerName) -> onnx.ModelProto:
    """Return a graph that fills dead channels.

    Inputs are raw events (batch, 4760): npho, time, dead.  Outputs, each (batch, 4760):
    ``npho_filled`` with the estimate at dead channels that have a live neighbour, others
    unchanged to the bit; ``time_filled`` with 1e10, no time, at those; ``dead_left``, the
    channels that are still dead.
    """
    b = GraphBuilder("fill/")
    around = surroundings(b)
    estimate = FILLERS[name](b, around)
    known = b.add("Greater", around.count, b.constant(0.0))
    filled = b.add("And", around.unusable, known)
    left = b.add("And", around.unusable, b.add("Not", known))
    shape = (N_SENSORS,)
    return b.model(
        [
            ("npho_filled", b.add("Where", filled, estimate, "npho"), "float32", shape),
            ("time_filled", b.add("Where", filled, b.constant(INVALID), "time"), "float32", shape),
            ("dead_left", left, "bool", shape),
        ],
        f"fill {name}",
    )
