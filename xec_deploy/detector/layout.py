"""How sensors map onto the images and graphs the network sees.

A *layout* is part of a model: it fixes which sensor feeds which pixel.
``research`` reproduces the reading existing checkpoints were trained with;
``physical`` puts every tube where it is.  The two differ on the outer face
(216 coarse tubes are 24 strips in phi times 9 in z with z fastest, which the
research code reads as 9 x 24) and in the hexagonal neighbour graph (the
research rule assumes rows shifted alternately, the rows are centred).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from xec_deploy.detector.constants import INNER_COLUMNS, INNER_ROWS, N_MPPC
from xec_deploy.errors import UsageError, nearest

__all__ = [
    "CENTRE_TABLE",
    "FINE_CENTRE_REPEAT",
    "FINE_CENTRE_START",
    "FINE_COARSE_REPEAT",
    "FINE_SHAPE",
    "HEX_PITCH_Z",
    "HEX_ROWS",
    "IntArray",
    "Layout",
    "LayoutName",
    "get_layout",
    "hex_coordinates",
]

IntArray = NDArray[np.int64]
LayoutName = Literal["research", "physical"]

HEX_ROWS: Final = (11, 12, 11, 12, 13, 14)
HEX_PITCH_Z: Final = 6.12
TOP_START: Final = 4596
BOTTOM_START: Final = 4669
UPSTREAM_START: Final = 4308
DOWNSTREAM_START: Final = 4452

FINE_SHAPE: Final = (45, 72)
FINE_COARSE_REPEAT: Final = (5, 3)
FINE_CENTRE_REPEAT: Final = (3, 2)
FINE_CENTRE_START: Final = (15, 30)

CENTRE_TABLE: Final[IntArray] = np.array(
    [
        [4185, 4742, 4186, 4743, 4187],
        [4744, 4745, 4746, 4747, 4748],
        [4194, 4749, 4195, 4750, 4196],
        [4203, 4751, 4204, 4752, 4205],
        [4753, 4754, 4755, 4756, 4757],
        [4212, 4758, 4213, 4759, 4214],
    ],
    dtype=np.int64,
)
"""The dense patch of the outer face: 6 rows in phi times 5 columns in z."""
CENTRE_TABLE.setflags(write=False)


@dataclass(frozen=True, eq=False)
class Layout:
    """Index maps of all faces; every array holds sensor ids (0-based).

    Attributes
    ----------
    name
        ``"research"`` or ``"physical"``; stored in checkpoints and bundles.
    inner, upstream, downstream
        Images (93, 44), (24, 6), (24, 6).
    outer_coarse
        Image (9, 24) of the 216 coarse tubes.
    outer_centre
        Image (5, 6) of the dense patch that replaces twelve of them.
    outer_fine
        (45, 72) fine grid: coarse cells repeated 5x3, the patch, repeated 3x2, over rows 15-29
        and columns 30-41.
    outer_fine_area
        (45, 72) number of fine cells a sensor's photons are spread over, 15 or 6.
    top, bottom
        The 73 nodes of each hexagonal face, row-major.
    hex_edges
        (3, E) source node, destination node, type; type 0 is the node itself, 1-6 its neighbours.
    """

    name: LayoutName
    inner: IntArray
    upstream: IntArray
    downstream: IntArray
    outer_coarse: IntArray
    outer_centre: IntArray
    outer_fine: IntArray
    outer_fine_area: IntArray
    top: IntArray
    bottom: IntArray
    hex_edges: IntArray

    def hex_adjacency(self) -> NDArray[np.float64]:
        """Return (7, 73, 73) 0/1 matrices: ``A[type, destination, source]``."""
        source, destination, kind = self.hex_edges
        nodes = sum(HEX_ROWS)
        adjacency = np.zeros((7, nodes, nodes))
        adjacency[kind, destination, source] = 1.0
        return adjacency


def get_layout(name: str) -> Layout:
    """Return the layout called ``name``.

    Raises
    ------
    UsageError
        If there is no such layout.
    """
    if name not in get_args(LayoutName):
        raise UsageError(f"unknown layout {name!r}", fix=nearest(name, get_args(LayoutName)))
    return _build(name)


@lru_cache
def _build(name: LayoutName) -> Layout:
    coarse = np.arange(N_MPPC, N_MPPC + 216)
    outer_coarse = coarse.reshape(9, 24) if name == "research" else coarse.reshape(24, 9).T
    outer_centre = CENTRE_TABLE.T
    outer_fine = np.repeat(np.repeat(outer_coarse, 5, axis=0), 3, axis=1)
    area = np.full(FINE_SHAPE, FINE_COARSE_REPEAT[0] * FINE_COARSE_REPEAT[1])
    row, column = FINE_CENTRE_START
    patch = np.repeat(np.repeat(outer_centre, 3, axis=0), 2, axis=1)
    window = (slice(row, row + patch.shape[0]), slice(column, column + patch.shape[1]))
    outer_fine[window] = patch
    area[window] = FINE_CENTRE_REPEAT[0] * FINE_CENTRE_REPEAT[1]
    arrays = {
        "inner": np.arange(N_MPPC).reshape(INNER_ROWS, INNER_COLUMNS),
        "upstream": np.arange(UPSTREAM_START, UPSTREAM_START + 144).reshape(24, 6),
        "downstream": np.arange(DOWNSTREAM_START, DOWNSTREAM_START + 144).reshape(24, 6),
        "outer_coarse": np.ascontiguousarray(outer_coarse),
        "outer_centre": np.ascontiguousarray(outer_centre),
        "outer_fine": outer_fine,
        "outer_fine_area": area,
        "top": np.arange(TOP_START, TOP_START + sum(HEX_ROWS)),
        "bottom": np.arange(BOTTOM_START, BOTTOM_START + sum(HEX_ROWS)),
        "hex_edges": _research_hex_edges() if name == "research" else _physical_hex_edges(),
    }
    for array in arrays.values():
        array.setflags(write=False)
    return Layout(name=name, **arrays)


def hex_coordinates() -> NDArray[np.float64]:
    """Return (73, 2): row number and z [cm] of each node of a hexagonal face."""
    return np.array(
        [
            (row, HEX_PITCH_Z * (column - (length - 1) / 2))
            for row, length in enumerate(HEX_ROWS)
            for column in range(length)
        ]
    )


def _research_hex_edges() -> IntArray:
    """Neighbours by row parity, as the research code draws them (model-spec)."""
    node = {
        (row, column): index
        for index, (row, column) in enumerate(
            (row, column) for row, length in enumerate(HEX_ROWS) for column in range(length)
        )
    }
    even = ((0, -1), (0, 1), (-1, -1), (-1, 0), (1, -1), (1, 0))
    odd = ((0, -1), (0, 1), (-1, 0), (-1, 1), (1, 0), (1, 1))
    edges = []
    for (row, column), source in node.items():
        edges.append((source, source, 0))
        for kind, (d_row, d_column) in enumerate(even if row % 2 == 0 else odd, start=1):
            destination = node.get((row + d_row, column + d_column))
            if destination is not None:
                edges.append((source, destination, kind))
    return np.array(edges, dtype=np.int64).T


def _physical_hex_edges() -> IntArray:
    """Neighbours by distance: 6.12 cm in a row, half a pitch in z between rows.

    The types keep the meaning of the research order: 1 and 2 the previous and next tube of the
    row, 3 and 4 those of the row inside (lower, higher z), 5 and 6 those of the row outside.
    """
    row, z = hex_coordinates().T
    steps = {1: (0, -1.0), 2: (0, 1.0), 3: (-1, -0.5), 4: (-1, 0.5), 5: (1, -0.5), 6: (1, 0.5)}
    edges = []
    for source in range(len(row)):
        edges.append((source, source, 0))
        for kind, (d_row, d_z) in steps.items():
            match = (row == row[source] + d_row) & np.isclose(z, z[source] + d_z * HEX_PITCH_Z)
            edges.extend((source, int(destination), kind) for destination in np.flatnonzero(match))
    return np.array(edges, dtype=np.int64).T
