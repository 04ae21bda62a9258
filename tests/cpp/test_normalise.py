"""The C++ normalisation gives the bits of the Python definition."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from xec_deploy import cpp
from xec_deploy.detector import N_SENSORS
from xec_deploy.errors import UsageError
from xec_deploy.normalisation import Normalisation

PRODUCTION = {
    "sqrt": Normalisation(npho_scheme="sqrt", npho_scale=20000.0, npho_scale2=1.0),
    "log1p": Normalisation(
        npho_scheme="log1p", npho_scale=0.58, npho_scale2=1.0, time_scale=6.5e-8, time_shift=0.5
    ),
    "research default": Normalisation(),
    "short threshold": Normalisation(
        npho_scheme="sqrt", npho_scale=20000.0, sentinel_time=-5.0, npho_threshold=10.0
    ),
}


def with_neighbours(values):
    values = np.asarray(values, np.float32)
    below = np.nextafter(values, np.float32(-np.inf))
    return np.concatenate([below, values, np.nextafter(values, np.float32(np.inf))])


def adversarial(normalisation):
    """Every special npho beside every special time."""
    minimum = normalisation.domain_minimum
    edges = [9e9, -9e9, normalisation.npho_threshold, 0.0, -normalisation.npho_scale]
    if np.isfinite(minimum):
        edges.append(minimum)
    float32 = np.finfo(np.float32)
    special = [np.nan, np.inf, -np.inf, 1e10, -1e10, 0.0, -0.0, float32.smallest_subnormal]
    special += [-float32.smallest_subnormal, float32.tiny, -float32.tiny, float32.max, float32.min]
    npho = np.concatenate([np.float32(special), with_neighbours(edges), np.float32([1, 100, 2e5])])
    time = np.concatenate(
        [np.float32(special), with_neighbours([9e9, -9e9]), np.float32([1e-8, -3e-7])]
    )
    grid = np.stack(np.meshgrid(npho, time), axis=-1).reshape(-1, 2)
    events = -(-len(grid) // N_SENSORS)
    grid = np.resize(grid, (events * N_SENSORS, 2)).reshape(events, N_SENSORS, 2)
    return np.ascontiguousarray(grid[..., 0]), np.ascontiguousarray(grid[..., 1])


def assert_same_bits(npho, time, dead, normalisation, **options):
    # A double beyond float32 becomes infinite in both; a signalling NaN is quietened.
    with np.errstate(over="ignore", invalid="ignore"):
        expected = normalisation.apply(npho, time, dead).astype(np.float32)
    result = cpp.normalise(npho, time, dead, normalisation, **options)
    assert result.dtype == np.float32
    expected = expected.reshape(-1, N_SENSORS, 2)
    assert result.shape == expected.shape
    wrong = np.argwhere(result.view(np.uint32) != expected.view(np.uint32))
    assert not len(wrong), (wrong[0], result[tuple(wrong[0])], expected[tuple(wrong[0])])


schemes = st.sampled_from(["log1p", "sqrt", "anscombe", "linear"])
positive = st.floats(1e-9, 1e9)
finite = st.floats(-1e6, 1e6)
normalisations = st.builds(
    Normalisation,
    npho_scheme=schemes,
    npho_scale=positive,
    npho_scale2=positive,
    time_scale=st.floats(1e-12, 1e3),
    time_shift=finite,
    sentinel_npho=finite,
    sentinel_time=finite,
    npho_threshold=finite,
)


@settings(max_examples=60, deadline=None)
@given(normalisation=normalisations, seed=st.integers(0, 2**32 - 1))
@example(normalisation=Normalisation(sentinel_npho=-0.0, sentinel_time=-0.0), seed=1)
@example(normalisation=PRODUCTION["sqrt"], seed=1)
@example(normalisation=PRODUCTION["log1p"], seed=1)
def test_random_bit_patterns(normalisation, seed):
    rng = np.random.default_rng(seed)
    bits = rng.integers(0, 2**32, (2, 2, N_SENSORS), dtype=np.uint32)
    npho, time = bits.view(np.float32)
    dead = rng.random((2, N_SENSORS)) < 0.1
    assert_same_bits(npho, time, dead, normalisation)


@pytest.mark.parametrize("name", PRODUCTION)
@pytest.mark.parametrize("scheme", ["log1p", "sqrt", "anscombe", "linear"])
def test_adversarial_values(name, scheme):
    normalisation = PRODUCTION[name].model_copy(update={"npho_scheme": scheme})
    npho, time = adversarial(normalisation)
    dead = np.random.default_rng(1).random(npho.shape) < 0.02
    assert_same_bits(npho, time, None, normalisation)
    assert_same_bits(npho, time, dead, normalisation)


@pytest.mark.parametrize("name", PRODUCTION)
def test_detector_like_events(name):
    rng = np.random.default_rng(2)
    npho = rng.exponential(500, (50, N_SENSORS)).astype(np.float32) - 20
    time = rng.normal(5e-8, 2e-8, npho.shape).astype(np.float32)
    dead = rng.random(N_SENSORS) < 0.03
    assert_same_bits(npho, time, dead, PRODUCTION[name])
    assert_same_bits(npho, time, dead, PRODUCTION[name], threads=3)
    assert_same_bits(npho[0], time[0], dead, PRODUCTION[name])


def test_float64_is_rounded_once():
    rng = np.random.default_rng(3)
    npho = rng.exponential(500, (3, N_SENSORS))
    time = rng.normal(5e-8, 2e-8, npho.shape)
    assert_same_bits(npho, time, None, PRODUCTION["sqrt"])
    assert_same_bits(npho, time, None, PRODUCTION["log1p"])


def test_layouts_and_byte_order():
    rng = np.random.default_rng(4)
    npho = rng.exponential(500, (6, N_SENSORS)).astype(np.float32)
    time = npho * np.float32(1e-10)
    dead = rng.random(npho.shape) < 0.05
    expected = cpp.normalise(npho, time, dead, PRODUCTION["sqrt"])
    swapped = cpp.normalise(npho.astype(">f4"), time.astype(">f4"), dead, PRODUCTION["sqrt"])
    np.testing.assert_array_equal(swapped, expected)
    fortran = cpp.normalise(np.asfortranarray(npho), time, dead, PRODUCTION["sqrt"])
    np.testing.assert_array_equal(fortran, expected)
    every_other = cpp.normalise(npho[::2], time[::2], dead[::2], PRODUCTION["sqrt"])
    np.testing.assert_array_equal(every_other, expected[::2])


def test_no_events():
    nothing = np.empty((0, N_SENSORS), np.float32)
    result = cpp.normalise(nothing, nothing, None, PRODUCTION["sqrt"], threads=4)
    assert result.shape == (0, N_SENSORS, 2)


def test_manifest():
    class Manifest:
        normalisation = PRODUCTION["sqrt"]

    event = np.full((1, N_SENSORS), 200, np.float32)
    expected = cpp.normalise(event, event, None, PRODUCTION["sqrt"])
    for manifest in (Manifest(), {"normalisation": PRODUCTION["sqrt"]}):
        np.testing.assert_array_equal(cpp.normalise(event, event, None, manifest), expected)
    for wrong in ({}, {"normalisation": {"npho_scheme": "sqrt"}}, None, "bundle.xec"):
        with pytest.raises(UsageError, match="has no normalisation"):
            cpp.normalise(event, event, None, wrong)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"npho": np.zeros((2, 4092), np.float32)}, r"npho has shape \(2, 4092\)"),
        ({"npho": np.zeros((2, N_SENSORS), np.int32)}, "npho has type int32"),
        ({"npho": np.zeros((2, N_SENSORS), np.float16)}, "npho has type float16"),
        ({"time": np.zeros((3, N_SENSORS), np.float32)}, "time has"),
        ({"time": np.zeros((1, 2, N_SENSORS), np.float32)}, "time has shape"),
        ({"dead": np.zeros((3, N_SENSORS), bool)}, r"dead has shape \(3, 4760\)"),
        ({"dead": np.zeros((2, N_SENSORS), np.int8)}, "dead has type int8"),
        ({"dead": [1, 2, 3]}, "dead has type int64"),
        ({"threads": 0}, "threads is 0"),
    ],
)
def test_wrong_arguments(change, message):
    arguments = {
        "npho": np.zeros((2, N_SENSORS), np.float32),
        "time": np.zeros((2, N_SENSORS), np.float32),
        "dead": None,
        "manifest": Normalisation(),
    }
    with pytest.raises(UsageError, match=message):
        cpp.normalise(**(arguments | change))
