"""Neighbour graphs between sensors, from their positions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from xec_deploy.detector.constants import FACES, N_SENSORS
from xec_deploy.detector.geometry import GeometryLike, load_geometry

__all__ = ["NeighbourGraph", "same_face_neighbours"]


@dataclass(frozen=True, eq=False)
class NeighbourGraph:
    """Neighbours of every sensor in compressed rows.

    The neighbours of sensor ``i`` are ``index[offset[i]:offset[i + 1]]``, ascending, without ``i``.
    """

    offset: NDArray[np.int64]
    index: NDArray[np.int64]

    def of(self, sensor: int) -> NDArray[np.int64]:
        """Return the ids of the neighbours of ``sensor``."""
        return self.index[self.offset[sensor] : self.offset[sensor + 1]]


def same_face_neighbours(
    geometry: GeometryLike | None = None, distance: float = 20.0
) -> NeighbourGraph:
    """Connect sensors of one face within ``distance`` [cm] of each other.

    With 20 cm this is the neighbourhood of the experiment's dead-channel estimates.
    """
    geometry = load_geometry(geometry)
    lists: list[NDArray[np.int64]] = [np.empty(0, np.int64)] * N_SENSORS
    for face in FACES:
        sensors = geometry.sensors_of(face)
        tree = cKDTree(geometry.position[sensors])
        for sensor, found in zip(
            sensors, tree.query_ball_point(geometry.position[sensors], distance), strict=True
        ):
            ids = np.sort(sensors[np.asarray(found, dtype=np.int64)])
            lists[sensor] = ids[ids != sensor]
    offset = np.concatenate([[0], np.cumsum([len(ids) for ids in lists])]).astype(np.int64)
    return NeighbourGraph(offset=offset, index=np.concatenate(lists))
