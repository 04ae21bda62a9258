import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from xec_deploy.errors import UsageError
from xec_deploy.physics import gaussian_core, smallest_interval

samples = arrays(np.float64, st.integers(2, 60), elements=st.integers(-1000, 1000).map(float))


@settings(deadline=None)
@given(samples, st.floats(0.05, 1.0))
def test_the_interval_holds_the_fraction_and_none_is_smaller(values, fraction):
    low, high = smallest_interval(values, fraction)
    wanted = max(math.ceil(fraction * len(values)), 2)
    assert np.count_nonzero((values >= low) & (values <= high)) >= wanted
    for start in values:
        inside = (values >= start) & (values < start + (high - low))
        assert np.count_nonzero(inside) < wanted or high == low


@settings(deadline=None)
@given(samples, st.integers(-500, 500), st.sampled_from([0.25, 0.5, 2.0, 8.0]))
def test_the_interval_moves_and_stretches_with_the_values(values, shift, scale):
    low, high = smallest_interval(values)
    assert smallest_interval(scale * values + shift) == (scale * low + shift, scale * high + shift)


def test_of_a_skewed_distribution_the_dense_end_is_chosen():
    values = np.random.default_rng(1).exponential(size=50_000)
    low, high = smallest_interval(values)
    assert low < 0.01
    assert high == pytest.approx(-math.log(1 - 0.6827), rel=0.03)


@pytest.mark.parametrize("fraction", [0.0, -0.1, 1.01])
def test_a_fraction_out_of_range_is_refused(fraction):
    with pytest.raises(UsageError, match="not in"):
        smallest_interval([1.0, 2.0], fraction)


def test_the_core_of_a_gaussian_is_the_gaussian():
    core = gaussian_core(np.random.default_rng(2).normal(3.0, 0.7, 200_000))
    assert core.mean == pytest.approx(3.0, abs=0.006)
    assert core.sigma == pytest.approx(0.7, rel=0.01)
    assert core.tail_fraction == pytest.approx(0.0027, abs=0.0006)


def test_tails_widen_the_core_little_and_are_counted():
    random = np.random.default_rng(3)
    values = np.concatenate([random.normal(0, 1, 95_000), random.uniform(5, 50, 5_000)])
    core = gaussian_core(values)
    assert core.sigma == pytest.approx(1.0, rel=0.02)
    assert core.tail_fraction == pytest.approx(0.05 + 0.95 * 0.0027, abs=0.002)
    assert np.std(values) > 5


@pytest.mark.parametrize("values", [[], [1.0], [math.nan, math.inf]])
def test_too_few_values_give_nan(values):
    assert all(map(math.isnan, smallest_interval(values)))
    assert math.isnan(gaussian_core(values).sigma)


def test_equal_values_have_no_width():
    assert smallest_interval([2.0] * 9) == (2.0, 2.0)
    core = gaussian_core([2.0] * 9)
    assert (core.mean, core.sigma, core.tail_fraction) == (2.0, 0.0, 0.0)
