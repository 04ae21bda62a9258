"""Where the sensors are, as the cross-attention head knows it."""

from __future__ import annotations

import math
from os import PathLike
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from torch import Tensor

from xec_deploy.detector.constants import N_SENSORS
from xec_deploy.detector.geometry import Geometry, load_geometry
from xec_deploy.detector.layout import IntArray
from xec_deploy.errors import InputError

__all__ = ["nearest_sensors", "position_code", "sensor_positions"]

CODE_LENGTH = 100.0
"""Half the longest wavelength of the position code [cm]."""


def sensor_positions(source: Geometry | str | PathLike[str] | None) -> NDArray[np.float64]:
    """Return (4760, 3) positions [cm].

    Parameters
    ----------
    source
        A geometry, a sensor table (``.csv``), a text file of the research code with lines
        ``id x y z``, or None for the design geometry.

    Raises
    ------
    InputError
        If a text file does not hold one position for each sensor, in order.
    """
    if source is None or isinstance(source, Geometry) or Path(source).suffix == ".csv":
        return load_geometry(source).position
    where = str(source)
    try:
        table = np.loadtxt(source, ndmin=2)
    except FileNotFoundError as error:
        raise InputError("no such file", where=where) from error
    except (OSError, ValueError) as error:
        raise InputError(f"not a table of numbers ({error})", where=where) from error
    if table.shape != (N_SENSORS, 4) or (table[:, 0] != np.arange(N_SENSORS)).any():
        raise InputError(
            f"holds {' x '.join(map(str, table.shape))} numbers",
            where=where,
            fix=f"Give {N_SENSORS} lines 'id x y z' [cm], ids ascending from 0.",
        )
    return table[:, 1:]


def nearest_sensors(positions: NDArray[np.float64], count: int) -> IntArray:
    """Return (4760, count) ids of the nearest other sensors of all faces, nearest first."""
    # Every sensor is its own nearest; two at one place would be an error of the table.
    found = cKDTree(positions).query(positions, k=count + 1)[1]
    return np.asarray(found[:, 1:], dtype=np.int64)


def position_code(positions: NDArray[np.float64], width: int) -> Tensor:
    """Return (4760, width) float32: sines and cosines of x, y, z in octaves.

    In float32 throughout, as in existing checkpoints: the phase of the highest octave is only
    known to a few thousandths, which the weights have learned with.
    """
    place = torch.from_numpy(np.float32(positions))
    octaves = 2.0 ** torch.linspace(0, width // 6 - 1, width // 6, dtype=torch.float32)
    phases = [place[:, axis, None] * octaves * (math.pi / CODE_LENGTH) for axis in range(3)]
    return torch.cat([wave(phase) for phase in phases for wave in (torch.sin, torch.cos)], dim=1)
