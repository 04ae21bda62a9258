"""Coordinates: known points, round trips, directions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from xec_deploy.detector import (
    angles_to_direction,
    design_geometry,
    direction_to_angles,
    uvw_to_xyz,
    xyz_to_uvw,
)
from xec_deploy.detector.constants import R_EFF
from xec_deploy.errors import UsageError

uvw_points = st.tuples(
    st.floats(-100, 100), st.floats(-3.14 * R_EFF, 3.14 * R_EFF), st.floats(-60, 60)
)


@given(uvw_points)
def test_uvw_round_trip(uvw):
    np.testing.assert_allclose(xyz_to_uvw(uvw_to_xyz(uvw)), uvw, atol=1e-9)


@given(arrays(np.float64, (3,), elements=st.floats(-200, 200)))
def test_xyz_round_trip(xyz):
    np.testing.assert_allclose(uvw_to_xyz(xyz_to_uvw(xyz)), xyz, atol=1e-9)


@pytest.mark.parametrize(
    ("uvw", "xyz"),
    [
        ((0, 0, 0), (-R_EFF, 0, 0)),
        ((5, 0, 10), (-R_EFF - 10, 0, 5)),
        ((0, np.pi / 2 * R_EFF, 0), (0, R_EFF, 0)),
        ((-3, -np.pi / 2 * R_EFF, 2), (0, -R_EFF - 2, -3)),
        ((0, np.pi / 6 * R_EFF, 1), (-(R_EFF + 1) * np.sqrt(0.75), (R_EFF + 1) / 2, 0)),
    ],
)
def test_known_points(uvw, xyz):
    np.testing.assert_allclose(uvw_to_xyz(uvw), xyz, atol=1e-12)
    np.testing.assert_allclose(xyz_to_uvw(xyz), uvw, atol=1e-12)


def test_v_runs_against_the_rows_and_u_along_the_columns():
    u, v, _ = design_geometry().uvw[:4092].reshape(93, 44, 3).transpose(2, 0, 1)
    assert (np.diff(u, axis=1) > 0).all()
    assert (np.diff(v, axis=0) < 0).all()


def test_any_leading_shape():
    uvw = np.random.default_rng(1).uniform(-20, 20, (2, 5, 3))
    xyz = uvw_to_xyz(uvw)
    assert xyz.shape == (2, 5, 3)
    np.testing.assert_array_equal(xyz[1, 3], uvw_to_xyz(uvw[1, 3]))
    assert uvw_to_xyz(np.empty((0, 3))).shape == (0, 3)
    assert uvw_to_xyz(uvw.astype(np.float32)).dtype == np.float64


@given(st.floats(0.01, 179.99), st.floats(-179.99, 179.99), st.floats(1e-3, 1e3))
def test_angles_round_trip(theta, phi, length):
    direction = angles_to_direction([theta, phi])
    np.testing.assert_allclose(np.linalg.norm(direction), 1, rtol=1e-12)
    np.testing.assert_allclose(direction_to_angles(length * direction), [theta, phi], atol=1e-9)


@pytest.mark.parametrize(
    ("direction", "angles"),
    [
        ((-1, 0, 0), (90, 0)),
        ((0, 1, 0), (90, 90)),
        ((0, -2, 0), (90, -90)),
        ((-1, 0, 1), (45, 0)),
        ((-1, 1, 0), (90, 45)),
        ((0, 0, 3), (0, 90)),
    ],
)
def test_known_directions(direction, angles):
    result = direction_to_angles(direction)
    np.testing.assert_allclose(result[0], angles[0], atol=1e-12)
    if angles[0] > 0:  # along the beam phi has no meaning
        np.testing.assert_allclose(result[1], angles[1], atol=1e-12)


@pytest.mark.parametrize(
    ("function", "wrong"),
    [
        (uvw_to_xyz, (1.0, 2.0)),
        (xyz_to_uvw, 1.0),
        (direction_to_angles, np.zeros((3, 2))),
        (angles_to_direction, (1.0, 2.0, 3.0)),
    ],
)
def test_wrong_shape(function, wrong):
    with pytest.raises(UsageError, match="components"):
        function(wrong)
