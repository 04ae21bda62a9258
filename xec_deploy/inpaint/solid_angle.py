"""Means of live neighbours times ratios of solid angles, as a graph.

The lines are those of :mod:`xec_deploy.inpaint.estimate`, which says what they mean.
"""

from __future__ import annotations

import math

import numpy as np

from xec_deploy.bundle.onnx_builder import GraphBuilder
from xec_deploy.detector.constants import (
    INNER_COLUMNS,
    INNER_ROWS,
    N_MPPC,
    N_SENSORS,
    R_EFF,
)
from xec_deploy.inpaint.estimate import GRAZING, TINY
from xec_deploy.inpaint.neighbours import Surroundings, neighbour_sum
from xec_deploy.inpaint.optics import (
    DEPTH_WINDOW,
    EDGE,
    FILLING,
    ITERATIONS,
    NEAR,
    WINDOW,
    depth_scale,
    optics,
)

__all__ = ["solid_angle"]


def solid_angle(b: GraphBuilder, around: Surroundings) -> str:
    """Return the estimates (batch, 4760), photons."""
    is_live = b.add("Greater", around.live, b.constant(0.0))
    light = b.add("Where", is_live, around.light, around.mean)
    solid = b.add("Add", _solid_angles(b, *_locate(b, light)), b.constant(GRAZING))
    total = neighbour_sum(b, b.add("Mul", solid, around.live))
    whole = b.add("Mul", solid, around.count)
    ratio = b.add("Div", whole, b.add("Max", total, b.constant(GRAZING)))
    return b.add("Mul", around.mean, ratio)


def _locate(b: GraphBuilder, light: str) -> tuple[str, str, str]:
    """Return u, v, w, each (batch, 1) [cm]."""
    tiny = b.constant(TINY)
    inner = b.add("Max", b.slice(light, 1, 0, N_MPPC), b.constant(0.0))
    image = b.add("Div", inner, b.add("Max", _largest(b, inner), tiny))
    tubes = b.add("Mul", b.slice(light, 1, N_MPPC, N_SENSORS), b.constant(0.0))
    whole = b.add("Concat", image, tubes, axis=1)
    smooth = b.add("Add", image, b.slice(neighbour_sum(b, whole), 1, 0, N_MPPC))
    weight = b.add("Div", smooth, b.add("Max", _largest(b, smooth), tiny))
    for _ in range(3):
        weight = b.add("Mul", weight, weight)
    weight = b.reshape(weight, -1, INNER_ROWS, INNER_COLUMNS)
    image = b.reshape(image, -1, INNER_ROWS, INNER_COLUMNS)
    total = b.add("Max", b.reshape(b.sum(weight, 1, 2), -1, 1), tiny)
    o = optics()
    u = b.add("Div", b.add("MatMul", b.sum(weight, 1), b.constant(o.u[:, None])), total)
    v = b.add("Div", b.add("MatMul", b.sum(weight, 2), b.constant(o.v[:, None])), total)
    for _ in range(ITERATIONS):
        charge, first_u, first_v, _ = _moments(b, image, u, v, WINDOW)
        u = b.add("Add", u, b.add("Div", first_u, charge))
        v = b.add("Add", v, b.add("Div", first_v, charge))
    charge, first_u, first_v, second = _moments(b, image, u, v, DEPTH_WINDOW)
    variance = b.add("Div", second, charge)
    for first in (first_u, first_v):
        mean = b.add("Div", first, charge)
        variance = b.add("Sub", variance, b.add("Mul", mean, mean))
    return u, v, _depth(b, b.add("Mul", variance, b.constant(1.0 / DEPTH_WINDOW**2)))


def _largest(b: GraphBuilder, values: str) -> str:
    return b.add("ReduceMax", values, b.indices(1), keepdims=1)


def _moments(b: GraphBuilder, image: str, u: str, v: str, window: float) -> tuple[str, ...]:
    """Return charge, first moments u, v and the sum of the second ones, each (batch, 1)."""
    o = optics()
    scale = b.constant(-0.5 / window**2)
    powers = []
    for axis, centre in ((o.v, v), (o.u, u)):
        distance = b.add("Sub", b.constant(axis), centre)
        square = b.add("Mul", distance, distance)
        seen = b.add("Exp", b.add("Mul", square, scale))
        lines = [seen, b.add("Mul", seen, distance), b.add("Mul", seen, square)]
        powers.append(
            b.add("Concat", *(b.add("Unsqueeze", x, b.indices(1)) for x in lines), axis=1)
        )
    along_v, along_u = powers
    product = b.add("MatMul", along_v, image)
    raw = b.add("MatMul", product, b.add("Transpose", along_u, perm=[0, 2, 1]))
    flat = b.reshape(raw, -1, 9)
    entry = [b.slice(flat, 1, i, i + 1) for i in (0, 1, 3, 2, 6)]
    charge = b.add("Max", entry[0], b.constant(TINY))
    return charge, entry[1], entry[2], b.add("Add", entry[3], entry[4])


def _depth(b: GraphBuilder, moment: str) -> str:
    """Interpolate the depth: a sum of ramps that begin at the knots."""
    knots, depths = depth_scale()
    slopes = np.diff(depths) / np.diff(knots)
    changes = np.diff(slopes, prepend=0.0)
    ends = [b.constant(value) for value in (knots[0], knots[-1])]
    inside = b.add("Min", b.add("Max", moment, ends[0]), ends[1])
    ramps = b.add("Relu", b.add("Sub", inside, b.constant(knots[:-1])))
    risen = b.add("MatMul", ramps, b.constant(changes[:, None]))
    return b.add("Add", risen, b.constant(depths[0]))


def _solid_angles(b: GraphBuilder, u: str, v: str, w: str) -> str:
    """Return the solid angle of every sensor (batch, 4760) from u, v, w, of the sphere."""
    o = optics()
    radius = b.add("Add", w, b.constant(R_EFF))
    phi = b.add("Mul", v, b.constant(1.0 / R_EFF))
    x = b.add("Neg", b.add("Mul", radius, b.add("Cos", phi)))
    y = b.add("Mul", radius, b.add("Sin", phi))
    place = b.add("Sub", b.add("Concat", x, y, u, axis=1), b.constant(o.origin))
    a, across, h = (
        b.add("Sub", b.add("MatMul", place, b.constant(axis)), b.constant(offset))
        for axis, offset in zip(o.axes, o.offset, strict=True)
    )
    h = b.add("Max", h, b.constant(0.0))
    squares = [b.add("Mul", value, value) for value in (a, across, h)]
    square = b.add("Add", b.add("Add", squares[0], squares[1]), squares[2])
    soft = b.add("Add", square, b.constant(o.size))
    disc = b.add("Div", h, b.add("Mul", soft, b.add("Sqrt", soft)))
    disc = b.add("Mul", disc, b.constant(o.area))
    a, across, h, square = (b.slice(value, 1, 0, N_MPPC) for value in (a, across, h, square))
    near = b.add(
        "And",
        b.add("Less", square, b.constant(NEAR**2)),
        b.add("Greater", h, b.constant(0.0)),
    )
    corners = _corners(b, a, across, b.add("Max", h, b.constant(1e-3)))
    inner = b.add("Where", near, corners, b.slice(disc, 1, 0, N_MPPC))
    return b.add("Concat", inner, b.slice(disc, 1, N_MPPC, N_SENSORS), axis=1)


def _corners(b: GraphBuilder, a: str, across: str, h: str) -> str:
    """Return the solid angle of square MPPCs (batch, 4092), of the sphere."""
    height2 = b.add("Mul", h, h)
    total = b.constant(0.0)
    for i in (-EDGE, EDGE):
        x = b.add("Sub", b.constant(i), a)
        x2 = b.add("Add", b.add("Mul", x, x), height2)
        for j in (-EDGE, EDGE):
            y = b.add("Sub", b.constant(j), across)
            r = b.add("Sqrt", b.add("Add", x2, b.add("Mul", y, y)))
            angle = b.add("Atan", b.add("Div", b.add("Mul", x, y), b.add("Mul", h, r)))
            total = b.add("Add" if i * j > 0 else "Sub", total, angle)
    return b.add("Mul", total, b.constant(FILLING / (4 * math.pi)))
