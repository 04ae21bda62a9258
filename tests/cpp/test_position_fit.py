"""The position fit against the experiment's macro, and on events of every kind."""

import numpy as np
import pytest

from xec_deploy import cpp
from xec_deploy.cpp import FitStatus, fit_position
from xec_deploy.detector import N_MPPC, N_SENSORS, design_geometry, load_geometry, uvw_to_xyz
from xec_deploy.errors import UsageError

CM_TO_MM = 10


@pytest.fixture(scope="module")
def macro(reference):
    """200 events through the experiment's compiled macro."""
    with np.load(reference / "localfit" / "localfit.npz") as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def surveyed(reference):
    return load_geometry(reference / "sensor_table.csv")


@pytest.fixture(scope="module")
def fit(macro, surveyed):
    return fit_position(macro["npho"], macro["dead"], macro["uvw_start"], surveyed)


def light_of(points, scale=1e6, geometry=None):
    """Events without noise: every sensor sees its solid angle of `scale` photons."""
    return scale * cpp.solid_angle(uvw_to_xyz(points), geometry)


def fiducial_points(count, seed=0):
    rng = np.random.default_rng(seed)
    return rng.uniform([-20, -60, 1], [20, 60, 20], (count, 3))


def test_first_stage_equals_the_macro(macro, fit):
    deviation = np.abs(fit.uvw_stage1 - macro["uvw_stage1"]) * CM_TO_MM
    assert deviation.max() < 0.02


def test_the_same_sensors_take_part(macro, fit):
    np.testing.assert_array_equal(fit.n_sensors, macro["n_sensors"])


def test_second_stage_equals_the_macro_or_is_better(macro, fit):
    near = (np.abs(fit.uvw - macro["uvw_fit"]) * CM_TO_MM < [0.05, 0.05, 0.2]).all(axis=1)
    as_good = fit.chi2_ndf <= macro["fit_chisq_ndf"] * (1 + 1e-5)
    assert (near | as_good).all()
    assert near.mean() > 0.9
    assert (fit.status <= FitStatus.AT_LIMIT).all()
    np.testing.assert_allclose(fit.scale[near], macro["fit_scale"][near], rtol=1e-3)


@pytest.mark.parametrize("start", ["given", "brightest"])
def test_recovers_a_point_of_light(start):
    points = fiducial_points(50)
    fit = fit_position(light_of(points), None, points + 0.8 if start == "given" else None)
    assert (fit.status == FitStatus.GOOD).all()
    np.testing.assert_allclose(fit.uvw, points, atol=1e-4)
    np.testing.assert_allclose(fit.scale, 1e6, rtol=1e-5)
    assert fit.chi2_ndf.max() < 1e-6


def test_errors_are_those_of_the_statistics():
    rng = np.random.default_rng(1)
    point = np.array([[3.0, -20.0, 6.0]])
    efficiency = 0.12
    photons = light_of(point, 2e7)[0] * efficiency
    npho = rng.poisson(photons, (400, N_SENSORS)) / efficiency
    fit = fit_position(npho, None, None)
    pull = (fit.uvw - fit.uvw.mean(axis=0)) / fit.uvw_error
    np.testing.assert_allclose(pull.std(axis=0), 1, atol=0.15)
    scale_pull = (fit.scale - fit.scale.mean()) / np.sqrt(fit.covariance[:, 3, 3])
    assert scale_pull.std() == pytest.approx(1, abs=0.15)
    np.testing.assert_allclose(fit.chi2_ndf.mean(), 1, atol=0.1)


def test_dead_channels_take_no_part(macro, surveyed, fit):
    for value, mask in ((1e10, None), (np.nan, None), (7e3, macro["dead"])):
        npho = np.where(macro["dead"], np.float32(value), macro["npho"])
        other = fit_position(npho, mask, macro["uvw_start"], surveyed)
        np.testing.assert_array_equal(other.uvw, fit.uvw)
        np.testing.assert_array_equal(other.covariance, fit.covariance)
    per_event = np.broadcast_to(macro["dead"], macro["npho"].shape)
    other = fit_position(macro["npho"], per_event, macro["uvw_start"], surveyed)
    np.testing.assert_array_equal(other.uvw, fit.uvw)


def test_threads_change_nothing(macro, surveyed, fit):
    for threads in (2, 3, 300):
        other = fit_position(
            macro["npho"], macro["dead"], macro["uvw_start"], surveyed, threads=threads
        )
        for name in vars(fit):
            np.testing.assert_array_equal(getattr(other, name), getattr(fit, name), name)


def test_precision_and_layout_of_the_input(macro, surveyed, fit):
    start = macro["uvw_start"]
    for npho in (
        macro["npho"].astype(np.float64),
        macro["npho"].astype(">f4"),
        np.asfortranarray(macro["npho"]),
    ):
        other = fit_position(npho, macro["dead"], start, surveyed)
        np.testing.assert_array_equal(other.uvw, fit.uvw)
    one = fit_position(macro["npho"][3], macro["dead"], start[3], surveyed)
    np.testing.assert_array_equal(one.uvw, fit.uvw[3:4])


def test_events_that_cannot_be_fitted():
    light = light_of([[0.0, 0.0, 5.0]])[0]
    nothing = np.zeros(N_SENSORS)
    few = np.zeros(N_SENSORS)
    few[46 * 44 + 18 : 46 * 44 + 25] = 100  # one bin in v
    cross = np.zeros(N_SENSORS)
    for step in range(5):
        cross[(44 + step) * 44 + 20 + step] = 1000  # on a diagonal
    behind = np.where(np.arange(N_SENSORS) < N_MPPC, np.nan, light)
    events = np.array([light, nothing, few, cross, behind, light])
    start = np.zeros((6, 3))
    start[5, 1] = np.nan
    fit = fit_position(events, None, start)
    expected = ["GOOD", "NO_LIGHT", "NO_LIGHT", "TOO_FEW_SENSORS", "NO_LIGHT", "NO_LIGHT"]
    assert [FitStatus(status).name for status in fit.status] == expected
    assert np.isnan(fit.uvw[1:]).all()
    assert np.isnan(fit.covariance[1:]).all()
    assert np.isfinite(fit.uvw_stage1[3]).all()
    np.testing.assert_array_equal(fit.n_sensors[[1, 2, 4, 5]], 0)
    assert fit.n_sensors[3] == 5
    assert (fit_position(events[:5]).status[[1, 4]] == FitStatus.NO_LIGHT).all()


def test_limits_are_kept_and_told():
    # Light from far behind the first point: the depth stops 5 cm from the first stage.
    npho = np.ones((1, N_SENSORS)) * 100
    fit = fit_position(npho, None, [[0, 0, 0]])
    assert FitStatus(fit.status[0]) is FitStatus.AT_LIMIT
    assert np.abs(fit.uvw - fit.uvw_stage1).max() <= 5 + 1e-12


def test_no_events():
    fit = fit_position(np.empty((0, N_SENSORS), np.float32), threads=4)
    assert len(fit) == 0
    assert fit.covariance.shape == (0, 4, 4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"npho": np.zeros((2, 4092), np.float32)}, r"npho has shape \(2, 4092\)"),
        ({"npho": np.zeros((2, N_SENSORS), int)}, "npho has type int64"),
        ({"dead": np.zeros((3, N_SENSORS), bool)}, r"dead has shape \(3, 4760\)"),
        ({"dead": [1, 2]}, "dead has type int64"),
        ({"start": np.zeros(3)}, r"start has shape \(3,\), expected \(2, 3\)"),
        ({"start": np.zeros((2, 2))}, "start has shape"),
        ({"threads": 0}, "threads is 0"),
    ],
)
def test_wrong_arguments(change, message):
    arguments = {"npho": np.zeros((2, N_SENSORS), np.float32), "dead": None, "start": None}
    with pytest.raises(UsageError, match=message):
        fit_position(**(arguments | {"geometry": design_geometry()} | change))
