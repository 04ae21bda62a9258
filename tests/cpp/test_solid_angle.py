"""Solid angles against independent numerics."""

from pathlib import Path

import numpy as np
import pytest
from scipy import integrate

from xec_deploy import cpp
from xec_deploy.detector import FACES, N_MPPC, Geometry, design_geometry, load_geometry, uvw_to_xyz
from xec_deploy.errors import InputError, UsageError

SENSOR_TABLE = Path(__file__).parents[3] / "shared" / "reference" / "sensor_table.csv"


@pytest.fixture(scope="module")
def surveyed():
    if not SENSOR_TABLE.exists():
        pytest.skip(f"the surveyed sensor table is not at {SENSOR_TABLE}")
    return load_geometry(SENSOR_TABLE)


@pytest.fixture(scope="module", params=["design", "surveyed"])
def geometry(request):
    return design_geometry() if request.param == "design" else request.getfixturevalue("surveyed")


def points_inside(count, seed=0):
    rng = np.random.default_rng(seed)
    low, high = [-23.9, -67.9, 0.5], [23.9, 67.9, 38.0]
    return uvw_to_xyz(rng.uniform(low, high, (count, 3)))


def local(geometry, sensor, point):
    """(a, b, h) of a point in the axes of a sensor, as detector facts define them."""
    n = geometry.normal[sensor]
    e_u = np.array([0, 0, 1.0]) - n[2] * n
    e_u /= np.linalg.norm(e_u)
    e_v = np.cross([0, 0, 1.0], n)
    e_v /= np.linalg.norm(e_v)
    return (point - geometry.position[sensor]) @ np.array([e_u, e_v, n]).T


def gauss_legendre(low, high, order=40):
    node, weight = np.polynomial.legendre.leggauss(order)
    half = (high - low) / 2
    return low + half * (node + 1), half * weight


def mppc_by_quadrature(a, b, h):
    """Integrate h / r^3 over the four chips."""
    total = 0.0
    for low_a, high_a in ((-0.615, -0.025), (0.025, 0.615)):
        x, weight_x = gauss_legendre(low_a, high_a)
        for low_b, high_b in ((-0.615, -0.025), (0.025, 0.615)):
            y, weight_y = gauss_legendre(low_b, high_b)
            r_squared = (x[:, None] - a) ** 2 + (y - b) ** 2 + h * h
            total += weight_x @ (h / r_squared**1.5) @ weight_y
    return total / (4 * np.pi)


def disc_by_quadrature(off_axis, h, radius=2.25):
    """Integrate h / r^3 over the disc: the radius in closed form, the azimuth numerically."""

    def over_radius(azimuth):
        c = off_axis * np.cos(azimuth)
        square = off_axis**2 + h * h
        end = np.sqrt(radius**2 - 2 * radius * c + square)
        # integral of s ds / (s^2 - 2 c s + square)^(3/2) from 0 to radius
        return h * (np.sqrt(square) - (square - c * radius) / end) / (square - c * c)

    value, _ = integrate.quad(over_radius, 0, np.pi, epsabs=1e-14, epsrel=1e-12, limit=500)
    return 2 * value / (4 * np.pi)


def one_disc(off_axis, h):
    """A geometry whose last sensor is a disc seen from (off_axis, h), with that view point."""
    design = design_geometry()
    sensor = 4759
    n = design.normal[sensor]
    across = np.cross(n, [0, 0, 1.0])
    return design.position[sensor] + h * n + off_axis * across / np.linalg.norm(across), sensor


def test_mppcs_by_quadrature(geometry):
    points = points_inside(20)
    fraction = cpp.solid_angle(points, geometry)
    rng = np.random.default_rng(1)
    for point, row in zip(points, fraction, strict=True):
        nearest = np.argsort(np.linalg.norm(geometry.position[:N_MPPC] - point, axis=1))[:10]
        for sensor in (*nearest, *rng.integers(0, N_MPPC, 30)):
            a, b, h = local(geometry, sensor, point)
            expected = mppc_by_quadrature(a, b, h) if h > 0 else 0.0
            assert row[sensor] == pytest.approx(expected, rel=1e-8, abs=1e-14)


def test_pmts_by_quadrature(geometry):
    points = points_inside(5, seed=2)
    fraction = cpp.solid_angle(points, geometry)
    for point, row in zip(points, fraction, strict=True):
        for sensor in range(N_MPPC, 4760, 7):
            offset = point - geometry.position[sensor]
            h = offset @ geometry.normal[sensor]
            off_axis = np.linalg.norm(offset - h * geometry.normal[sensor])
            expected = disc_by_quadrature(off_axis, h) if h > 0 else 0.0
            assert row[sensor] == pytest.approx(expected, rel=1e-9, abs=1e-14)


@pytest.mark.parametrize(("off_axis", "h", "expected"), [(5, 4, 0.02015), (1, 10, 0.01203)])
def test_published_disc_values(off_axis, h, expected):
    point, sensor = one_disc(off_axis, h)
    assert cpp.solid_angle(point)[0, sensor] == pytest.approx(expected, abs=5e-6)


@pytest.mark.parametrize("h", [0.02, 0.5, 3.0, 60.0])
@pytest.mark.parametrize(
    "off_axis", [0, 1e-9, 0.7, 2.2, 2.249999, 2.25 - 1e-13, 2.25, 2.25 + 1e-13, 2.250001, 2.3, 30]
)
def test_disc_everywhere(off_axis, h):
    point, sensor = one_disc(off_axis, h)
    expected = disc_by_quadrature(off_axis, h)
    assert cpp.solid_angle(point)[0, sensor] == pytest.approx(expected, rel=1e-7, abs=1e-13)


def test_surfaces_do_not_exceed_the_sphere(geometry):
    fraction = cpp.solid_angle(points_inside(200, seed=3), geometry)
    assert fraction.min() >= 0
    total = fraction.sum(axis=1)
    assert total.max() < 1
    assert total.min() > 0.2
    for number, name in enumerate(FACES):
        assert fraction[:, geometry.face == number].sum(axis=1).max() < 0.75, name


def test_surveyed_totals(surveyed):
    # As measured for the experiment's own code with the true cathode radius.
    fraction = cpp.solid_angle([-75, 0, 0], surveyed)[0]
    assert fraction.sum() == pytest.approx(0.355, abs=5e-4)
    by_face = np.bincount(surveyed.face, fraction)
    assert by_face[0] == pytest.approx(0.1813, abs=5e-5)
    assert by_face[1] == pytest.approx(0.0837, abs=5e-5)
    assert by_face[2] == pytest.approx(0.036, abs=5e-4)


def test_zero_behind_and_in_the_plane():
    geometry = design_geometry()
    for sensor in (0, 2046, 4091, 4092, 4400, 4600, 4759):
        behind = geometry.position[sensor] - 3 * geometry.normal[sensor]
        points = np.array([behind, geometry.position[sensor]])
        np.testing.assert_array_equal(cpp.solid_angle(points)[:, sensor], 0)


def test_mirror_symmetry_of_the_design():
    points = points_inside(10, seed=4)
    geometry = design_geometry()
    mirrored = points * [1, 1, -1]
    inner = np.arange(N_MPPC).reshape(93, 44)
    direct = cpp.solid_angle(points, geometry)[:, inner]
    np.testing.assert_allclose(
        cpp.solid_angle(mirrored, geometry)[:, inner[:, ::-1]], direct, rtol=1e-9, atol=1e-15
    )


def test_threads_and_single_points_agree_to_the_bit():
    points = points_inside(23, seed=5)
    one = cpp.solid_angle(points)
    for threads in (2, 3, 64):
        np.testing.assert_array_equal(cpp.solid_angle(points, threads=threads), one)
    np.testing.assert_array_equal(cpp.solid_angle(points[7])[0], one[7])
    np.testing.assert_array_equal(cpp.solid_angle(np.asfortranarray(points)), one)
    assert cpp.solid_angle(points[:0]).shape == (0, 4760)


def test_a_table_by_its_path(surveyed):
    np.testing.assert_array_equal(
        cpp.solid_angle([-75, 0, 0], str(SENSOR_TABLE)), cpp.solid_angle([-75, 0, 0], surveyed)
    )


def test_unknown_positions_stay_unknown():
    points = np.array([[-75, 0, 0], [np.nan, 0, 0], [-75, np.inf, 0], [1e10, 1e10, 1e10]])
    fraction = cpp.solid_angle(points)
    assert np.isfinite(fraction[0]).all()
    assert np.isnan(fraction[1:]).all()


@pytest.mark.parametrize("points", [np.zeros((2, 2)), 1.0, np.zeros((2, 2, 3)), ["x", "y", "z"]])
def test_wrong_points(points):
    with pytest.raises(UsageError, match="points has"):
        cpp.solid_angle(points)


def test_wrong_geometry():
    with pytest.raises(InputError, match=r"no_such\.csv"):
        cpp.solid_angle([-75, 0, 0], "no_such.csv")
    design = design_geometry()
    normal = design.normal.copy()
    normal[17] *= 2
    broken = Geometry(position=design.position, normal=normal, face=design.face, source="mine")
    with pytest.raises(UsageError, match=r"mine: sensor 17 has a normal of length 2\.0"):
        cpp.solid_angle([-75, 0, 0], broken)
    with pytest.raises(UsageError, match="threads is -1"):
        cpp.solid_angle([-75, 0, 0], threads=-1)
