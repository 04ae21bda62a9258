"""Sensor positions and normals: the parametric design, or a user's survey table."""

from __future__ import annotations

import csv
import hashlib
import math
from dataclasses import dataclass
from functools import cached_property, lru_cache
from os import PathLike
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from xec_deploy.detector import layout as maps
from xec_deploy.detector.constants import (
    FACES,
    INNER_COLUMNS,
    MPPC_PITCH_PHI_DEG,
    MPPC_PITCH_Z,
    N_MPPC,
    N_SENSORS,
    PHI_OPENING_DEG,
    R_EFF,
    R_OUTER,
)
from xec_deploy.detector.coordinates import xyz_to_uvw
from xec_deploy.errors import InputError, nearest

__all__ = ["Geometry", "GeometryLike", "design_geometry", "load_geometry", "read_sensor_table"]

FloatArray = NDArray[np.float64]

OUTER_PITCH_PHI_DEG = 5.23
OUTER_PITCH_Z = 10.356
CENTRE_PITCH_Z = 6.2
END_CAP_R, END_CAP_Z = (69.53, 6.684), (35.1547, 2.3369)
END_CAP_NORMAL = (0.330, 0.944)
HEX_R = (68.27, 6.91)

REQUIRED_COLUMNS = ("sensor_id", "face", "x", "y", "z", "nx", "ny", "nz")


@dataclass(frozen=True, eq=False)
class Geometry:
    """Where every sensor is and where it looks.

    Attributes
    ----------
    position
        (4760, 3) float64 [cm].
    normal
        (4760, 3) float64 unit vectors into the xenon.
    face
        (4760,) int8, index into :data:`~xec_deploy.detector.constants.FACES`.
    source
        ``"design"`` or the path of the sensor table.
    """

    position: FloatArray
    normal: FloatArray
    face: NDArray[np.int8]
    source: str

    def __post_init__(self) -> None:
        for array in (self.position, self.normal, self.face):
            array.setflags(write=False)

    @cached_property
    def uvw(self) -> FloatArray:
        """Curvilinear sensor positions (4760, 3) [cm]."""
        return xyz_to_uvw(self.position)

    @property
    def is_mppc(self) -> NDArray[np.bool_]:
        """(4760,) True for the MPPCs of the inner face."""
        return np.arange(N_SENSORS) < N_MPPC

    @cached_property
    def sha256(self) -> str:
        """Hash of positions, normals and faces; two equal geometries share it."""
        digest = hashlib.sha256()
        for array in (self.position, self.normal, self.face):
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    def sensors_of(self, face: str) -> NDArray[np.int64]:
        """Return the sensor ids of a face, ascending."""
        return np.flatnonzero(self.face == FACES.index(face))


GeometryLike = Geometry | str | PathLike[str]


def load_geometry(geometry: GeometryLike | None) -> Geometry:
    """Return ``geometry`` itself, the table at that path, or the design if None."""
    if geometry is None:
        return design_geometry()
    return geometry if isinstance(geometry, Geometry) else read_sensor_table(geometry)


@lru_cache
def design_geometry() -> Geometry:
    """Return the design geometry of the six faces.

    Reproduces the design columns of the experiment's sensor table to 5 micrometres.
    """
    r, phi_deg, z = np.empty((3, N_SENSORS))
    face = np.empty(N_SENSORS, dtype=np.int8)
    normal_r, normal_phi, normal_z = np.zeros((3, N_SENSORS))
    layout = maps.get_layout("physical")

    inner = np.arange(N_MPPC)
    face[inner] = 0
    r[inner] = R_EFF
    phi_deg[inner] = -MPPC_PITCH_PHI_DEG * (inner // INNER_COLUMNS - 46)
    z[inner] = MPPC_PITCH_Z * (inner % INNER_COLUMNS - 21.5)
    normal_r[inner] = 1.0

    coarse = np.arange(216)
    outer = N_MPPC + coarse
    phi_deg[outer] = -OUTER_PITCH_PHI_DEG * (coarse // 9 - 11.5)
    z[outer] = OUTER_PITCH_Z * (coarse % 9 - 4)
    row, column = np.indices(maps.CENTRE_TABLE.shape)
    phi_deg[maps.CENTRE_TABLE] = -2 / 3 * OUTER_PITCH_PHI_DEG * (row - 2.5)
    z[maps.CENTRE_TABLE] = CENTRE_PITCH_Z * (column - 2)
    for tubes in (outer, maps.CENTRE_TABLE.ravel()):
        face[tubes] = 1
        r[tubes] = R_OUTER
        normal_r[tubes] = -1.0

    cap = np.arange(144)
    for number, first, side in ((2, layout.upstream, -1), (3, layout.downstream, 1)):
        tubes = first.ravel()
        face[tubes] = number
        r[tubes] = END_CAP_R[0] + END_CAP_R[1] * (cap % 6)
        phi_deg[tubes] = -OUTER_PITCH_PHI_DEG * (cap // 6 - 11.5)
        z[tubes] = side * (END_CAP_Z[0] + END_CAP_Z[1] * (cap % 6))
        length = np.hypot(*END_CAP_NORMAL)
        normal_r[tubes] = END_CAP_NORMAL[0] / length
        normal_z[tubes] = -side * END_CAP_NORMAL[1] / length

    hex_row, hex_z = maps.hex_coordinates().T
    for number, tubes, side in ((4, layout.top, 1), (5, layout.bottom, -1)):
        face[tubes] = number
        r[tubes] = HEX_R[0] + HEX_R[1] * hex_row
        phi_deg[tubes] = side * PHI_OPENING_DEG / 2
        z[tubes] = hex_z
        normal_phi[tubes] = -side

    cos, sin = np.cos(np.radians(phi_deg)), np.sin(np.radians(phi_deg))
    radial = np.stack([-cos, sin, np.zeros_like(cos)], axis=-1)
    azimuthal = np.stack([sin, cos, np.zeros_like(cos)], axis=-1)
    normal = normal_r[:, None] * radial + normal_phi[:, None] * azimuthal
    normal[:, 2] = normal_z
    position = r[:, None] * radial
    position[:, 2] = z
    return Geometry(position=position, normal=normal, face=face, source="design")


def read_sensor_table(path: str | PathLike[str]) -> Geometry:
    """Read surveyed positions and normals from a CSV table.

    The columns ``sensor_id, face, x, y, z, nx, ny, nz`` are required, others are ignored; the
    4760 rows may come in any order.  Positions in cm, normals of unit length.

    Raises
    ------
    InputError
        If the file, a column, a row or a value is missing or wrong; the message names it.
    """
    where = str(path)
    try:
        # utf-8-sig: spreadsheets begin a CSV with a byte order mark.
        with Path(path).open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream, skipinitialspace=True)
            header = list(reader.fieldnames or ())
            for column in REQUIRED_COLUMNS:
                if column not in header:
                    raise InputError(
                        f"no column {column!r} in the sensor table",
                        where=where,
                        fix=nearest(column, header) if header else "The file is empty.",
                    )
            rows = [_row(row, reader.line_num, where) for row in reader]
    except OSError as error:
        raise InputError(f"cannot read the sensor table ({error.strerror})", where=where) from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError("the sensor table is not a text file", where=where) from error
    return _geometry_of(np.array(rows).reshape(-1, len(REQUIRED_COLUMNS)), where)


def _row(row: dict[str, str | None], line: int, where: str) -> list[float]:
    values = []
    for column in REQUIRED_COLUMNS:
        text = row[column]
        try:
            value = math.nan if text is None else float(text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise InputError(
                f"line {line}, column {column!r}: "
                + ("the value is missing" if text is None else f"{text!r} is not a finite number"),
                where=where,
            )
        values.append(value)
    return values


def _geometry_of(table: FloatArray, where: str) -> Geometry:
    sensor, count = np.unique(table[:, 0], return_counts=True)
    ids = np.arange(N_SENSORS)
    complaint = None
    if len(strange := np.setdiff1d(sensor, ids)):
        complaint = f"sensor id {strange[0]:.10g} does not exist"
    elif (count > 1).any():
        complaint = f"sensor {sensor[count > 1][0]:.0f} occurs more than once"
    elif len(missing := np.setdiff1d(ids, sensor)):
        complaint = f"sensor {missing[0]} is missing"
    if complaint:
        raise InputError(
            f"{len(table)} rows, and {complaint}",
            where=where,
            fix=f"The table needs each sensor id from 0 to {N_SENSORS - 1} exactly once.",
        )
    table = table[np.argsort(table[:, 0])]
    expected = design_geometry().face
    if not np.array_equal(table[:, 1], expected):
        wrong = int(np.flatnonzero(table[:, 1] != expected)[0])
        raise InputError(
            f"sensor {wrong} is on face {table[wrong, 1]:g}, expected {expected[wrong]}",
            where=where,
            fix="Faces are 0 inner, 1 outer, 2 upstream, 3 downstream, 4 top, 5 bottom.",
        )
    normal = table[:, 5:8]
    length = np.linalg.norm(normal, axis=1)
    if np.abs(length - 1).max() > 1e-3:
        wrong = int(np.abs(length - 1).argmax())
        raise InputError(
            f"the normal of sensor {wrong} has length {length[wrong]:.4g}, not 1",
            where=where,
            fix="Normals are unit vectors that point into the xenon.",
        )
    return Geometry(
        position=np.ascontiguousarray(table[:, 2:5]),
        normal=np.ascontiguousarray(normal / length[:, None]),
        face=table[:, 1].astype(np.int8),
        source=where,
    )
