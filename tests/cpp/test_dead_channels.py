"""Predictions of dead channels: against the macro, against NumPy, and at their edges."""

import numpy as np
import pytest

from xec_deploy import cpp
from xec_deploy.cpp import DEAD_METHODS, fit_position, predict_dead
from xec_deploy.detector import (
    N_MPPC,
    N_SENSORS,
    design_geometry,
    load_geometry,
    same_face_neighbours,
    uvw_to_xyz,
)
from xec_deploy.errors import UsageError


def events(count=12, seed=0):
    """Light of points, with noise and random dead channels on all faces."""
    rng = np.random.default_rng(seed)
    points = rng.uniform([-20, -60, 1], [20, 60, 20], (count, 3))
    npho = rng.poisson(1e6 * cpp.solid_angle(uvw_to_xyz(points))) + rng.normal(0, 1, (1, N_SENSORS))
    return npho.astype(np.float32), rng.random(npho.shape) < 0.03


def test_fit_equals_the_macro_where_the_fits_agree(reference):
    geometry = load_geometry(reference / "sensor_table.csv")
    with np.load(reference / "localfit" / "localfit.npz") as macro:
        npho, dead, start = macro["npho"], macro["dead"], macro["uvw_start"]
        fit = fit_position(npho, dead, start, geometry)
        near = (np.abs(fit.uvw - macro["uvw_fit"]) < [0.005, 0.005, 0.02]).all(axis=1)
        event, sensor = macro["dead_event_idx"], macro["dead_sensor"]
        expected = macro["dead_npho_pred"]
    predicted = predict_dead(npho, dead, fit, geometry)
    compared = near[event]
    assert compared.mean() > 0.9
    # The macro's arcsines lose digits at a sensor seen edge-on, a thousandth of a photon.
    np.testing.assert_allclose(
        predicted[event, sensor][compared], expected[compared], rtol=5e-3, atol=1e-4
    )
    np.testing.assert_array_equal(np.unique(sensor), np.flatnonzero(np.isfinite(predicted[0])))


@pytest.mark.parametrize("method", ["solid_angle", "neighbours"])
def test_neighbours_as_in_numpy(method):
    npho, dead = events()
    fit = fit_position(npho, dead)
    fraction = cpp.solid_angle(uvw_to_xyz(fit.uvw))
    graph = same_face_neighbours()
    predicted = predict_dead(npho, dead, fit, method=method)
    for event, sensor in np.argwhere(dead)[::5]:
        near = graph.of(sensor)
        near = near[~dead[event, near]]
        light, seen = npho[event, near].astype(float), fraction[event, near]
        by_angle = method == "solid_angle" and light.sum() > 50 and seen.sum() > 0
        expected = light.sum() * fraction[event, sensor] / seen.sum() if by_angle else light.mean()
        assert predicted[event, sensor] == pytest.approx(expected, rel=1e-9)
    np.testing.assert_array_equal(np.isnan(predicted), ~dead)


def test_every_method_finds_the_light_of_a_point():
    point = np.array([[2.0, 10.0, 12.0]])
    light = 1e6 * cpp.solid_angle(uvw_to_xyz(point))
    dead = np.zeros(N_SENSORS, bool)
    dead[np.arange(0, N_SENSORS, 40)] = True
    fit = fit_position(light, dead)
    inner = dead & (np.arange(N_SENSORS) < N_MPPC) & (light[0] > 500)
    for method, tolerance in (("fit", 1e-4), ("solid_angle", 1e-4), ("neighbours", 2)):
        predicted = predict_dead(light, dead, fit, method=method)[0]
        np.testing.assert_allclose(predicted[inner], light[0, inner], rtol=tolerance)
    # Proportion to solid angles holds on the PMTs as well.
    tubes = np.flatnonzero(dead)[np.flatnonzero(dead) >= N_MPPC]
    by_angle = predict_dead(light, dead, fit, method="solid_angle")[0]
    np.testing.assert_allclose(by_angle[tubes], light[0, tubes], rtol=1e-3, atol=1e-9)
    assert np.isnan(predict_dead(light, dead, fit)[0, tubes]).all()


def test_values_without_a_measurement_are_dead():
    npho, dead = events(4)
    fit = fit_position(npho, dead)
    for method in DEAD_METHODS:
        expected = predict_dead(npho, dead, fit, method=method)
        for value in (np.nan, np.inf, -np.inf, 1e10):
            marked = np.where(dead, np.float32(value), npho)
            np.testing.assert_array_equal(predict_dead(marked, None, fit, method=method), expected)


def test_faint_events_get_the_plain_mean():
    dead = np.zeros(N_SENSORS, bool)
    dead[2000] = True
    faint = np.full((1, N_SENSORS), 0.05)
    bright = np.full((1, N_SENSORS), 10.0)
    fit = fit_position(bright, dead)
    mean = predict_dead(faint, dead, fit, method="solid_angle")[0, 2000]
    assert mean == pytest.approx(0.05)
    assert predict_dead(bright, dead, fit, method="solid_angle")[0, 2000] != pytest.approx(10)


def test_without_a_fit():
    npho, dead = events(3)
    npho[1] = 0  # no light, so no fit either
    fit = fit_position(npho, dead)
    assert np.isnan(predict_dead(npho, dead, fit)[1]).all()
    plain = predict_dead(npho, dead, method="neighbours")
    by_angle = predict_dead(npho, dead, fit, method="solid_angle")
    np.testing.assert_array_equal(by_angle[1], plain[1])
    everything = np.ones_like(dead)
    assert np.isnan(predict_dead(npho, everything, fit, method="neighbours")).all()


def test_threads_change_nothing():
    npho, dead = events(7)
    fit = fit_position(npho, dead)
    for method in DEAD_METHODS:
        one = predict_dead(npho, dead, fit, method=method)
        many = predict_dead(npho, dead, fit, method=method, threads=3)
        np.testing.assert_array_equal(many, one)
    double = predict_dead(npho.astype(float), dead, fit, method="neighbours")
    np.testing.assert_array_equal(double, predict_dead(npho, dead, method="neighbours"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"method": "neighbors"}, "Did you mean 'neighbours'"),
        ({"fit": None}, "'fit' for dead channels needs a fit"),
        ({"npho": np.zeros((3, N_SENSORS))}, "the fit has 2 events, npho has 3"),
        ({"dead": np.zeros((3, N_SENSORS), bool)}, "dead has shape"),
        ({"npho": np.zeros((2, 5))}, "npho has shape"),
        ({"threads": 0}, "threads is 0"),
    ],
)
def test_wrong_arguments(change, message):
    npho, dead = events(2)
    arguments = {
        "npho": npho,
        "dead": dead,
        "fit": fit_position(npho, dead),
        "geometry": design_geometry(),
    }
    with pytest.raises(UsageError, match=message):
        predict_dead(**(arguments | change))
