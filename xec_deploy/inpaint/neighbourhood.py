"""Which sensors a dead one is filled from."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from xec_deploy.detector.constants import N_MPPC, N_SENSORS
from xec_deploy.detector.neighbours import same_face_neighbours

__all__ = ["NOBODY", "adjacent_sensors"]

MPPC_DISTANCE: Final = 2.3
"""Neighbours of an MPPC [cm]: the eight around it."""
PMT_DISTANCE: Final = 11.0
"""Neighbours of a PMT [cm], on its face: those in the next row and column."""
NOBODY: Final = N_SENSORS
"""Id that stands for no sensor."""


@lru_cache
def adjacent_sensors() -> NDArray[np.int64]:
    """Return the neighbours of every sensor, (4760, most) ids ascending, padded with `NOBODY`.

    Sensors of the same face in the design geometry: the eight around an MPPC, those within 11 cm
    of a PMT.
    """
    near, wide = same_face_neighbours(None, MPPC_DISTANCE), same_face_neighbours(None, PMT_DISTANCE)
    lists = [(near if i < N_MPPC else wide).of(i) for i in range(N_SENSORS)]
    table = np.full((N_SENSORS, max(map(len, lists))), NOBODY, dtype=np.int64)
    for row, ids in zip(table, lists, strict=True):
        row[: len(ids)] = ids
    table.setflags(write=False)
    return table
