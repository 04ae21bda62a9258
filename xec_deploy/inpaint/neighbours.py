"""Means of live neighbours, as a graph."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from xec_deploy.bundle.onnx_builder import GraphBuilder
from xec_deploy.detector.constants import INVALID_ABOVE
from xec_deploy.inpaint.neighbourhood import adjacent_sensors

__all__ = ["Surroundings", "neighbour_sum", "neighbours", "surroundings"]

LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class Surroundings:
    """Names of values in the graph.

    Attributes
    ----------
    unusable
        (batch, 4760) bool: dead, above 9e9 or not finite, which the network would see as dead.
    light
        (batch, 4760) photons of the channels that may be looked at, 0 elsewhere.
    live
        (batch, 4760) 1 or 0: those channels.
    count
        (batch, 4760) how many neighbours of a sensor are among them.
    mean
        (batch, 4760) photons: their mean, 0 without any.
    """

    unusable: str
    light: str
    live: str
    count: str
    mean: str


def surroundings(b: GraphBuilder) -> Surroundings:
    """Add what every filler begins with: who is dead, and what is around."""
    above = b.constant(INVALID_ABOVE)
    # Comparisons with NaN are false, so these two leave finite values below the bound.
    finite = b.add(
        "And",
        b.add("LessOrEqual", "npho", above),
        b.add("GreaterOrEqual", "npho", b.constant(-LARGEST)),
    )
    alive = b.add("Not", "dead")
    usable = b.add("And", finite, alive)
    # Valid for the network, but nothing to take a mean of.
    sane = b.add("And", usable, b.add("GreaterOrEqual", "npho", b.constant(-INVALID_ABOVE)))
    light = b.add("Where", sane, "npho", b.constant(0.0))
    live = b.add("Cast", sane, to=1)
    count = neighbour_sum(b, live)
    total = neighbour_sum(b, light)
    mean = b.add("Div", total, b.add("Max", count, b.constant(1.0)))
    return Surroundings(b.add("Not", usable), light, live, count, mean)


def neighbour_sum(b: GraphBuilder, values: str) -> str:
    """Add the sum (batch, 4760) of values (batch, 4760) over the neighbours of each sensor."""
    nothing = b.add("Mul", b.slice(values, 1, 0, 1), b.constant(0.0))
    padded = b.add("Concat", values, nothing, axis=1)
    return b.sum(b.gather(padded, adjacent_sensors(), axis=1), 2)


def neighbours(b: GraphBuilder, around: Surroundings) -> str:
    """Return the mean of the live neighbours, photons."""
    del b
    return around.mean
