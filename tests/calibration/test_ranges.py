"""Histograms that grow and the ranges chosen from them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calibration.histogram import BINS, StreamingHistogram
from calibration.qdq import activation_scale
from calibration.ranges import METHODS, choose_range
from xec_deploy.errors import UsageError


def histogram(values):
    found = StreamingHistogram()
    found.update(np.asarray(values, np.float32))
    return found


def error(values, bounds, target="cpu"):
    """Mean squared error of what eight bits make of values."""
    form = activation_scale(*bounds, target)
    limits = (-127, 127) if form.signed else (0, 255)
    q = np.clip(np.rint(values / form.scale) + form.zero_point, *limits)
    return np.mean(((q - form.zero_point) * form.scale - values) ** 2)


@given(
    st.lists(st.floats(-1e6, 1e6, width=32, allow_subnormal=False), min_size=1, max_size=40),
    st.integers(1, 5),
)
def test_the_order_of_growth_does_not_matter(values, pieces):
    array = np.array(values, np.float32)
    whole, parts = histogram(array), StreamingHistogram()
    for piece in np.array_split(array, pieces):
        if len(piece):
            parts.update(piece)
    assert parts.total == whole.total == len(values)
    assert (parts.low, parts.high) == (array.min(), array.max())
    if parts.limit == whole.limit:
        # Doubling loses nothing: a bin of the grown histogram holds what two held.
        assert np.abs(np.cumsum(parts.counts) - np.cumsum(whole.counts)).max() <= len(values)


def test_bins_are_those_of_numpy():
    random = np.random.default_rng(1)
    found = StreamingHistogram()
    everything = []
    for scale in (0.01, 1, 30):
        values = random.normal(0, scale, 5000).astype(np.float32)
        found.update(values)
        everything.append(values)
    expected, _ = np.histogram(np.concatenate(everything), bins=found.edges)
    assert len(found.counts) == BINS
    # Values on the border of a bin may be one bin off.
    assert np.abs(np.cumsum(found.counts - expected)).max() <= 5


def test_what_is_no_number_does_not_count():
    found = histogram([1.0, np.nan, np.inf, -2.0])
    assert (found.total, found.low, found.high) == (2, -2.0, 1.0)


@pytest.mark.parametrize("target", ["cpu", "tensorrt"])
@pytest.mark.parametrize("method", METHODS)
def test_ranges_lie_inside_what_was_seen_and_hold_zero(method, target):
    values = np.random.default_rng(2).gamma(2.0, 1.0, 20_000) - 0.5
    low, high = choose_range(histogram(values), method, target)
    assert low <= 0 <= high
    assert high <= values.max() * 1.0001
    if target == "tensorrt":
        assert low == -high


@pytest.mark.parametrize("target", ["cpu", "tensorrt"])
def test_outliers_are_clipped_where_that_pays(target):
    random = np.random.default_rng(5)
    values = random.normal(0, 1, 100_000)
    values[:5] = 60.0
    found = histogram(values)
    errors = {m: error(values, choose_range(found, m, target), target) for m in METHODS}
    assert errors["mse"] == min(errors.values())
    # Kept apart from the outliers, which all but mse give up here.
    usual = np.abs(values) < 10
    seen = error(values[usual], choose_range(found, "minmax", target), target)
    for method in ("percentile", "entropy"):
        assert error(values[usual], choose_range(found, method, target), target) < seen / 4


def test_a_tensor_of_zeros_has_a_scale():
    for method in METHODS:
        form = activation_scale(*choose_range(histogram(np.zeros(10)), method, "cpu"), "cpu")
        assert form.scale > 0


def test_unknown_methods_are_refused():
    with pytest.raises(UsageError, match="Did you mean 'minmax'"):
        choose_range(histogram([1.0]), "min-max", "cpu")
