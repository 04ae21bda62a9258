import json
import math
from dataclasses import astuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xec_deploy.errors import UsageError
from xec_deploy.physics import profile, resolution


@pytest.fixture(scope="module")
def gaussian():
    return np.random.default_rng(7).normal(0.4, 2.5, 40_000)


def test_a_gaussian_gives_its_sigma_within_the_stated_error(gaussian):
    found = resolution(gaussian)
    assert abs(found.sigma68 - 2.5) < 4 * found.sigma68_error
    assert abs(found.core_sigma - 2.5) < 4 * found.core_sigma_error
    assert abs(found.bias - 0.4) < 4 * found.bias_error
    assert found.rms == pytest.approx(2.5, rel=0.02)
    assert found.n == 40_000
    assert found.excluded == 0


def test_bootstrap_errors_are_the_spread_of_repeated_samples():
    random = np.random.default_rng(11)
    found = [resolution(random.normal(size=1000), replicas=60) for _ in range(60)]
    for name in ("bias", "sigma68", "core_sigma"):
        spread = np.std([getattr(one, name) for one in found])
        stated = np.mean([getattr(one, f"{name}_error") for one in found])
        assert stated == pytest.approx(spread, rel=0.4), name


def test_the_error_of_a_large_sample_is_that_of_its_size(gaussian):
    small, large = resolution(gaussian[:10_000]), resolution(np.tile(gaussian, 4)[:160_000])
    assert large.bias_error == pytest.approx(small.bias_error / 4, rel=0.3)


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 1000),
    scale=st.sampled_from([0.125, 2.0, 1024.0]),
    shift=st.sampled_from([-3.0, 0.0, 7.0]),
)
def test_scaling_shifting_and_shuffling(seed, scale, shift):
    random = np.random.default_rng(seed)
    values = random.standard_t(3, size=300)
    plain = resolution(values, replicas=10)
    other = resolution(random.permutation(values) * scale + shift, replicas=10)
    for name in ("sigma68", "sigma68_error", "core_sigma", "rms", "bias_error"):
        assert getattr(other, name) == pytest.approx(scale * getattr(plain, name), rel=1e-6)
    assert other.bias == pytest.approx(scale * plain.bias + shift, abs=1e-9 * scale)
    assert other.tail_fraction == plain.tail_fraction


def test_the_same_residuals_give_the_same_errors(gaussian):
    assert resolution(gaussian) == resolution(gaussian[::-1])


def test_values_that_are_not_finite_are_excluded_and_counted():
    with_nan = np.array([1.0, math.nan, 2.0, math.inf, 4.0, -math.inf])
    found, clean = resolution(with_nan), resolution([1.0, 2.0, 4.0])
    assert (found.n, found.excluded) == (3, 3)
    assert found.sigma68 == clean.sigma68


@pytest.mark.parametrize("values", [[], [1.5], [math.nan] * 3])
def test_few_events_have_no_figures_but_serialise(values):
    found = resolution(values)
    assert math.isnan(found.sigma68)
    assert found.to_dict()["sigma68"] is None
    json.dumps(found.to_dict(), allow_nan=False)


def test_a_profile_splits_the_events(gaussian):
    variable = np.linspace(0, 3, len(gaussian))
    residual = gaussian * (1 + np.floor(variable))
    variable[0], variable[1] = math.nan, 99.0
    found = profile(residual, variable, [0, 1, 2, 3])
    assert found.outside == 2
    assert sum(point.n for point in found.points) == len(gaussian) - 2
    assert found.values("sigma68") == pytest.approx([2.5, 5.0, 7.5], rel=0.03)
    assert found.centre == pytest.approx([0.5, 1.5, 2.5], abs=0.01)
    json.dumps(found.to_dict(), allow_nan=False)


def test_an_empty_bin_is_empty():
    found = profile([0.1, 0.2, 0.3], [0.5, 0.5, 2.0], [0, 1, 1.5, 2])
    assert [point.n for point in found.points] == [2, 0, 1]
    assert found.centre[1] == 1.25
    assert all(map(math.isnan, astuple(found.points[1])[2:]))


@pytest.mark.parametrize(
    ("residual", "variable", "bins"),
    [([1.0], [1.0, 2.0], [0, 1]), ([1.0], [1.0], [1]), ([1.0], [1.0], [1, 1])],
)
def test_a_profile_that_makes_no_sense_is_refused(residual, variable, bins):
    with pytest.raises(UsageError):
        profile(residual, variable, bins)
