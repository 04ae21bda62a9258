"""Mirrored events: the design of the detector is the same left and right, up and down.

Exchanging the sensors of an event with their mirror images, and the truth with them, gives an
event that could as well have happened: four events from one.  Sensors stand where the design has
them; surveyed ones differ by less than a pitch, so the mirror image of a sensor stays the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Generator, Tensor

from xec_deploy.detector.geometry import design_geometry
from xec_train.data.batch import RawBatch
from xec_train.models import TaskName

__all__ = ["mirror", "mirror_images", "mirror_targets", "random_mirror"]

TOLERANCE = 0.01
"""Largest distance [cm] of a sensor from the mirror image of another."""


@lru_cache(maxsize=1)
def mirror_images() -> Tensor:
    """Return the sensor at the place of each one's mirror image, (4, 4760) int64.

    Rows: none, in u (z to -z), in v (y to -y), in both.
    """
    position = design_geometry().position
    tree = cKDTree(position)
    rows = []
    for along_v in (1.0, -1.0):
        for along_u in (1.0, -1.0):
            distance, sensor = tree.query(position * np.array([1.0, along_v, along_u]))
            if distance.max() > TOLERANCE:
                raise AssertionError("the design is not symmetric")
            rows.append(sensor)
    return torch.from_numpy(np.stack(rows).astype(np.int64))


def random_mirror(batch: RawBatch, generator: Generator | None = None) -> RawBatch:
    """Mirror each event in u, v, both or not at all, with equal probability."""
    device = batch.npho.device
    way = torch.randint(4, (len(batch),), generator=generator, device=device)
    return mirror(batch, way)


def mirror(batch: RawBatch, way: Tensor, targets: dict[TaskName, Tensor] | None = None) -> RawBatch:
    """Mirror events; ``way`` (batch,) int64 is 0 for as they are, 1 in u, 2 in v, 3 in both.

    ``targets`` are those of the mirrored events, None for their own as :func:`mirror_targets` has
    them.
    """
    sensors = mirror_images().to(way.device)[way]
    return replace(
        batch,
        npho=batch.npho.gather(1, sensors),
        time=batch.time.gather(1, sensors),
        dead=batch.dead.gather(1, sensors),
        targets=mirror_targets(batch.targets, way) if targets is None else targets,
    )


def mirror_targets(targets: Mapping[TaskName, Tensor], way: Tensor) -> dict[TaskName, Tensor]:
    """Mirror truths, per task (batch, components); ``way`` as in :func:`mirror`."""
    in_u, in_v = way % 2 == 1, way // 2 == 1
    return {task: _mirrored(task, target, in_u, in_v) for task, target in targets.items()}


def _mirrored(task: TaskName, target: Tensor, in_u: Tensor, in_v: Tensor) -> Tensor:
    """Mirror a truth (batch, components); theta is measured from +z, phi has the sign of y."""
    match task:
        case "angle":
            theta, phi = target.unbind(1)
            mirrored = [torch.where(in_u, 180.0 - theta, theta), torch.where(in_v, -phi, phi)]
        case "uvwFI":
            u, v, w = target.unbind(1)
            mirrored = [torch.where(in_u, -u, u), torch.where(in_v, -v, v), w]
        case "angleVec":
            x, y, z = target.unbind(1)
            mirrored = [x, torch.where(in_v, -y, y), torch.where(in_u, -z, z)]
        case _:
            return target
    return torch.stack(mirrored, dim=1)
