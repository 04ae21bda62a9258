"""Where the sensors are: the parametric design and the user's survey table."""

import numpy as np
import pytest

from xec_deploy.detector import (
    FACES,
    N_MPPC,
    N_PMT,
    N_SENSORS,
    design_geometry,
    load_geometry,
)
from xec_deploy.detector.constants import R_EFF, R_OUTER

COUNTS = {
    "inner": 4092,
    "outer": 234,
    "upstream": 144,
    "downstream": 144,
    "top": 73,
    "bottom": 73,
}
# Largest distance to the design columns [cm]; the requirement is 0.01 mm = 1e-3 cm.
RESIDUAL = {
    "inner": 1.2e-4,
    "outer": 4.8e-4,
    "upstream": 5.0e-4,
    "downstream": 5.0e-4,
    "top": 0.8e-4,
    "bottom": 0.8e-4,
}


@pytest.mark.parametrize("face", FACES)
def test_design_positions(table, face, record_property):
    design = design_geometry()
    sensors = design.sensors_of(face)
    expected = np.stack([table["design_x"], table["design_y"], table["design_z"]], axis=-1)
    distance = np.linalg.norm(design.position - expected, axis=1)[sensors]
    record_property(f"largest residual of {face} [cm]", float(distance.max()))
    assert distance.max() < 1e-3
    assert distance.max() < RESIDUAL[face]


def test_ids_and_faces(table):
    design = design_geometry()
    np.testing.assert_array_equal(table["sensor_id"], np.arange(N_SENSORS))
    np.testing.assert_array_equal(design.face, table["face"])
    assert {face: len(design.sensors_of(face)) for face in FACES} == COUNTS
    assert design.is_mppc.sum() == N_MPPC == 4092
    assert (~design.is_mppc).sum() == N_PMT == 668
    np.testing.assert_array_equal(design.is_mppc, design.face == 0)


def test_design_needs_no_file():
    design = design_geometry()
    assert design.source == "design"
    assert design.position.shape == design.normal.shape == (N_SENSORS, 3)
    np.testing.assert_allclose(design.uvw[:N_MPPC, 2], 0, atol=1e-9)
    np.testing.assert_allclose(design.uvw[design.face == 1, 2], R_OUTER - R_EFF, atol=1e-9)
    assert load_geometry(None) is design
    assert load_geometry(design) is design


def test_no_two_sensors_coincide():
    from scipy.spatial import cKDTree

    assert not cKDTree(design_geometry().position).query_pairs(1.5)


def test_normals_are_unit_vectors_into_the_xenon():
    design = design_geometry()
    np.testing.assert_allclose(np.linalg.norm(design.normal, axis=1), 1, rtol=1e-12)
    middle = np.array([-(R_EFF + R_OUTER) / 2, 0.0, 0.0])
    # One step along the normal comes closer to the mid-surface of the xenon on every face.
    step = design.position + design.normal
    radius = np.hypot(step[:, 0], step[:, 1])
    inner, outer = design.face == 0, design.face == 1
    assert (radius[inner] > R_EFF + 0.99).all()
    assert (radius[outer] < R_OUTER - 0.99).all()
    ends = design.face >= 2
    assert (((middle - design.position) * design.normal).sum(1)[ends] > 0).all()
    assert (np.abs(step[:, 2]) < np.abs(design.position[:, 2]))[np.isin(design.face, (2, 3))].all()
    assert (np.abs(step[:, 1]) < np.abs(design.position[:, 1]))[design.face >= 4].all()


@pytest.mark.parametrize("face", FACES)
def test_normals_agree_with_the_survey(surveyed, face, record_property):
    design = design_geometry()
    sensors = design.sensors_of(face)
    cosine = (design.normal * surveyed.normal).sum(1)[sensors]
    degrees = np.degrees(np.arccos(np.clip(cosine, -1, 1)))
    record_property(f"largest angle between normals of {face} [deg]", float(degrees.max()))
    assert degrees.max() < 1.5


def test_arrays_are_read_only():
    design = design_geometry()
    for array in (design.position, design.normal, design.face):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0


def test_hash_tells_geometries_apart(surveyed, table_path):
    assert design_geometry().sha256 == design_geometry().sha256
    assert surveyed.sha256 != design_geometry().sha256
    assert load_geometry(str(table_path)).sha256 == surveyed.sha256
