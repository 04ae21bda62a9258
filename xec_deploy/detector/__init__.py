"""The detector: constants, coordinates, sensor geometry and the network's index maps."""

from xec_deploy.detector.constants import FACES, N_MPPC, N_PMT, N_SENSORS
from xec_deploy.detector.coordinates import (
    angles_to_direction,
    direction_to_angles,
    uvw_to_xyz,
    xyz_to_uvw,
)
from xec_deploy.detector.geometry import (
    Geometry,
    GeometryLike,
    design_geometry,
    load_geometry,
    read_sensor_table,
)
from xec_deploy.detector.layout import Layout, LayoutName, get_layout
from xec_deploy.detector.neighbours import NeighbourGraph, same_face_neighbours

__all__ = [
    "FACES",
    "N_MPPC",
    "N_PMT",
    "N_SENSORS",
    "Geometry",
    "GeometryLike",
    "Layout",
    "LayoutName",
    "NeighbourGraph",
    "angles_to_direction",
    "design_geometry",
    "direction_to_angles",
    "get_layout",
    "load_geometry",
    "read_sensor_table",
    "same_face_neighbours",
    "uvw_to_xyz",
    "xyz_to_uvw",
]
