"""Which cells of the pooled fine grid belong to each tube of the outer face."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xec_deploy.detector.layout import (
    FINE_CENTRE_REPEAT,
    FINE_CENTRE_START,
    FINE_COARSE_REPEAT,
    IntArray,
    Layout,
)

__all__ = ["OuterRegions", "outer_average", "outer_regions"]


@dataclass(frozen=True, eq=False)
class OuterRegions:
    """Regions of the 234 outer tubes on the pooled grid, padded to equal length.

    Attributes
    ----------
    sensors
        (234,) ids, ascending.
    cells
        (234, longest) flat indices into the grid; 0 where there is none.
    valid
        (234, longest) whether there is one.
    shape
        Height and width of the grid.
    """

    sensors: IntArray
    cells: IntArray
    valid: NDArray[np.bool_]
    shape: tuple[int, int]


def outer_regions(layout: Layout, pool: tuple[int, int] | None) -> OuterRegions:
    """Return the regions as existing checkpoints define them.

    A tube of the dense centre has its 3 x 2 cells of the patch, any other the 5 x 3 cells of its
    place on the coarse map, also where the patch covers them.  Borders are divided by the pooling
    window and rounded down, so a region may lose its last cells; it keeps at least one.
    """
    window = pool or (1, 1)
    shape = (layout.outer_fine.shape[0] // window[0], layout.outer_fine.shape[1] // window[1])
    sensors = np.union1d(layout.outer_coarse, layout.outer_centre)
    regions = []
    for sensor in sensors:
        inside = np.argwhere(layout.outer_centre == sensor)
        repeat, start = (FINE_CENTRE_REPEAT, FINE_CENTRE_START)
        if not len(inside):
            inside = np.argwhere(layout.outer_coarse == sensor)
            repeat, start = (FINE_COARSE_REPEAT, (0, 0))
        spans = []
        for axis in (0, 1):
            first = start[axis] + int(inside[0, axis]) * repeat[axis]
            low = min(first // window[axis], shape[axis] - 1)
            high = min((first + repeat[axis]) // window[axis], shape[axis])
            spans.append(np.arange(low, max(high, low + 1)))
        regions.append((spans[0][:, None] * shape[1] + spans[1]).ravel())
    longest = max(map(len, regions))
    cells = np.zeros((len(sensors), longest), np.int64)
    valid = np.zeros(cells.shape, bool)
    for row, region in enumerate(regions):
        cells[row, : len(region)] = region
        valid[row, : len(region)] = True
    return OuterRegions(sensors.astype(np.int64), cells, valid, shape)


def outer_average(
    layout: Layout, pool: tuple[int, int] | None
) -> tuple[IntArray, NDArray[np.float64], NDArray[np.float64]]:
    """Return how to read tubes off the pooled fine grid: sensor ids and two matrices.

    The first matrix (tubes, cells) turns npho per cell into npho of the tube, the second averages.
    Tubes without a cell of their own (twelve in the research layout) are not among the ids.
    """
    window = pool or (1, 1)
    height, width = (n // w for n, w in zip(layout.outer_fine.shape, window, strict=True))
    inside = (slice(0, height * window[0]), slice(0, width * window[1]))
    fine, area = layout.outer_fine[inside], layout.outer_fine_area[inside]
    rows, columns = np.indices(fine.shape)
    cell = rows // window[0] * width + columns // window[1]
    sensors, tube = np.unique(fine, return_inverse=True)
    average = np.zeros((len(sensors), height * width))
    total = np.zeros_like(average)
    np.add.at(average, (tube.ravel(), cell.ravel()), 1.0)
    np.add.at(total, (tube.ravel(), cell.ravel()), area.ravel())
    cells = average.sum(axis=1, keepdims=True)
    return sensors.astype(np.int64), total / cells, average / cells
