"""The one normalisation against an independent, per-value reading of the rules."""

import math

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pydantic import ValidationError

from xec_deploy.errors import UsageError
from xec_deploy.normalisation import Normalisation, channel_validity, normalise_arrays

SCHEMES = ("log1p", "sqrt", "anscombe", "linear")
PARAMETERS = {
    "production": {"npho_scale": 20000.0, "npho_scale2": 1.0},
    "log1p 1000": {"npho_scale": 1000.0, "npho_scale2": 4.08},
    "oldest": {
        "npho_scale": 0.58,
        "npho_scale2": 1.0,
        "time_scale": 6.5e-8,
        "time_shift": 0.5,
        "npho_threshold": 10.0,
        "sentinel_time": -5.0,
    },
    "compact": {
        "npho_scale": 1000.0,
        "time_scale": 1e-8,
        "time_shift": 0.0,
        "sentinel_npho": -1.5,
        "sentinel_time": -2.0,
    },
}
CASES = [
    pytest.param(Normalisation(npho_scheme=scheme, **parameters), id=f"{scheme}-{name}")
    for scheme in SCHEMES
    for name, parameters in PARAMETERS.items()
]
any_case = st.sampled_from([case.values[0] for case in CASES])
float32s = st.floats(width=32, allow_nan=True, allow_infinity=True, allow_subnormal=True)
float64s = st.floats(allow_nan=True, allow_infinity=True, allow_subnormal=True)


def oracle(npho, time, dead, n):
    """One channel by the rules of the specification, with Python's own floats."""
    npho, time = float(npho), float(time)
    if dead or not math.isfinite(npho) or npho > 9e9:
        return n.sentinel_npho, n.sentinel_time
    if n.npho_scheme == "log1p":
        npho_norm = (
            0.0
            if npho < -0.999 * n.npho_scale
            else math.log(1 + npho / n.npho_scale) / n.npho_scale2
        )
    elif n.npho_scheme == "sqrt":
        npho_norm = 0.0 if npho < 0 else math.sqrt(npho / n.npho_scale)
    elif n.npho_scheme == "anscombe":
        npho_norm = 0.0 if npho < -0.375 else math.sqrt((npho + 3 / 8) / (n.npho_scale + 3 / 8))
    else:
        npho_norm = npho / n.npho_scale
    if npho < n.npho_threshold or not math.isfinite(time) or abs(time) > 9e9:
        return npho_norm, n.sentinel_time
    return npho_norm, time / n.time_scale - n.time_shift


def expected_of(npho, time, dead, n, dtype):
    values = [oracle(*channel, n) for channel in zip(npho, time, dead, strict=True)]
    with np.errstate(over="ignore"):
        return np.array(values, dtype=np.float64).astype(dtype)


def domain_minimum(n):
    minimum = {"log1p": -0.999 * n.npho_scale, "sqrt": 0.0, "anscombe": -0.375}
    return minimum.get(n.npho_scheme, -math.inf)


def adversarial(n, dtype):
    """Every special npho beside every special time."""
    edges = np.array([9e9, n.npho_threshold, 0.0, -n.npho_scale], dtype)
    if math.isfinite(domain_minimum(n)):
        edges = np.append(edges, dtype(domain_minimum(n)))
    edges = np.concatenate(
        [edges, np.nextafter(edges, dtype(-np.inf)), np.nextafter(edges, dtype(np.inf))]
    )
    info = np.finfo(dtype)
    special = [np.nan, np.inf, -np.inf, 1e10, -1e10, 0.0, -0.0, 1.0, 100.0, 1e5]
    special += [info.smallest_subnormal, -info.smallest_subnormal, info.tiny, info.max, info.min]
    npho = np.concatenate([np.array(special, dtype), edges])
    time = np.array([*special, 9e9, -9e9, 1e-8, -3e-7], dtype)
    grid = np.stack(np.meshgrid(npho, time), -1).reshape(-1, 2)
    return np.ascontiguousarray(grid[:, 0]), np.ascontiguousarray(grid[:, 1])


@pytest.mark.parametrize("n", CASES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_special_values(n, dtype):
    npho, time = adversarial(n, dtype)
    for dead in (np.zeros(npho.shape, bool), np.arange(len(npho)) % 7 == 0):
        result = n.apply(npho, time, dead)
        assert result.dtype == dtype
        expected = expected_of(npho, time, dead, n, dtype)
        np.testing.assert_allclose(result, expected, rtol=4 * np.finfo(dtype).eps)


@settings(max_examples=150, deadline=None)
@given(any_case, arrays(np.float32, (2, 8), elements=float32s), arrays(bool, 8))
def test_float32_against_the_rules(n, values, dead):
    result = n.apply(values[0], values[1], dead)
    assert result.dtype == np.float32
    expected = expected_of(values[0], values[1], dead, n, np.float32)
    np.testing.assert_array_max_ulp(np.nan_to_num(result), np.nan_to_num(expected), 1)
    assert not np.isnan(result).any()


@settings(max_examples=100, deadline=None)
@given(any_case, arrays(np.float64, (2, 8), elements=float64s), arrays(bool, 8))
def test_float64_against_the_rules(n, values, dead):
    result = n.apply(values[0], values[1], dead)
    assert result.dtype == np.float64
    expected = expected_of(values[0], values[1], dead, n, np.float64)
    np.testing.assert_allclose(result, expected, rtol=1e-12)


@settings(max_examples=50, deadline=None)
@given(any_case, st.integers(0, 2**32 - 1))
def test_any_bit_pattern_without_a_warning(n, seed):
    bits = np.random.default_rng(seed).integers(0, 2**32, (2, 4760), dtype=np.uint32)
    npho, time = bits.view(np.float32)
    assert not np.isnan(n.apply(npho, time)).any()


def test_signalling_nan():
    quiet_bit_clear = np.array([0x7F800001, 0xFFA00000], np.uint32).view(np.float32)
    n = Normalisation(sentinel_npho=-1.0, sentinel_time=-2.0)
    np.testing.assert_array_equal(n.apply(quiet_bit_clear, np.float32([0, 0])), [[-1, -2]] * 2)
    live = np.float32([200, 200])
    np.testing.assert_array_equal(n.apply(live, quiet_bit_clear)[:, 1], [-2, -2])


@pytest.mark.parametrize("n", CASES)
def test_sentinels_and_domain_breaks_are_exact(n):
    sentinels = np.float32([n.sentinel_npho, n.sentinel_time])
    for npho in (np.nan, np.inf, -np.inf, 1e10, 9.1e9):
        x = n.apply(np.float32([npho]), np.float32([1e-8]))
        np.testing.assert_array_equal(x, [sentinels])
    x = n.apply(np.float32([500]), np.float32([1e-8]), np.array([True]))
    np.testing.assert_array_equal(x, [sentinels])
    broken = n.apply(np.float32([-1e10, -2e4 * n.npho_scale]), np.float32([1e-8, 1e-8]))
    if n.npho_scheme == "linear":
        np.testing.assert_array_equal(
            broken[:, 0],
            np.float32(np.float64([-1e10, np.float32(-2e4 * n.npho_scale)]) / n.npho_scale),
        )
    else:
        np.testing.assert_array_equal(broken[:, 0], 0)
    np.testing.assert_array_equal(broken[:, 1], sentinels[1])


@pytest.mark.parametrize("n", CASES)
def test_thresholds(n):
    threshold = n.npho_threshold
    npho = np.array([threshold, np.nextafter(threshold, -np.inf)])
    x = n.apply(npho, np.array([2e-8, 2e-8]))
    assert x[0, 1] == pytest.approx(2e-8 / n.time_scale - n.time_shift, rel=1e-12)
    assert x[1, 1] == n.sentinel_time
    # 9e9 itself is a value, anything above marks an invalid one; the same for times.
    x = n.apply(np.array([9e9, np.nextafter(9e9, 1e10)]), np.zeros(2))
    assert x[0, 0] > 0
    assert x[1, 0] == n.sentinel_npho
    live = np.full(4, 1e4)
    times = np.array([9e9, -9e9, np.nextafter(9e9, 1e10), -np.nextafter(9e9, 1e10)])
    invalid = n.apply(live, times)[:, 1] == n.sentinel_time
    np.testing.assert_array_equal(invalid, [False, False, True, True])
    minimum = domain_minimum(n)
    if math.isfinite(minimum):
        assert n.domain_minimum == minimum
        x = n.apply(np.array([minimum, np.nextafter(minimum, -np.inf)]), np.zeros(2))
        assert x[1, 0] == 0
        if n.npho_scheme == "log1p":
            assert x[0, 0] == pytest.approx(math.log(0.001) / n.npho_scale2, rel=1e-9)


@settings(max_examples=150, deadline=None)
@given(any_case, arrays(np.float64, 6, elements=st.floats(0, 9e9)))
def test_npho_round_trip(n, npho):
    back = n.inverse(n.apply(npho, np.zeros(6))[:, 0])
    np.testing.assert_allclose(back, npho, rtol=1e-9, atol=1e-9 * n.npho_scale)


@pytest.mark.parametrize("n", CASES)
def test_negative_round_trip(n):
    floor = max(domain_minimum(n), -0.99 * n.npho_scale)
    npho = np.linspace(floor, 0, 50)
    np.testing.assert_allclose(n.inverse(n.forward(npho)), npho, rtol=1e-9, atol=1e-9)


@settings(max_examples=100, deadline=None)
@given(any_case, arrays(np.float64, 6, elements=st.floats(-1e-6, 1e-6)))
def test_time_round_trip(n, time):
    back = n.inverse_time(n.apply(np.full(6, 1e4), time)[:, 1])
    np.testing.assert_allclose(back, time, rtol=1e-9, atol=1e-20)


@pytest.mark.parametrize("n", CASES)
def test_torch_agrees(n):
    rng = np.random.default_rng(3)
    npho = np.concatenate([rng.normal(500, 2000, 4000), adversarial(n, np.float64)[0]])
    time = np.concatenate([rng.normal(3e-8, 2e-8, 4000), adversarial(n, np.float64)[1]])
    # NumPy computes 64-bit extremes in its own way; float32's are the range of the files.
    keep = ~((np.abs(npho) > 3e38) & np.isfinite(npho))
    npho, time = npho[keep], time[keep]
    dead = rng.random(len(npho)) < 0.05
    inputs = (torch.from_numpy(npho), torch.from_numpy(time), torch.from_numpy(dead))
    in_torch = torch.stack(normalise_arrays(*inputs, n, torch), -1)
    assert in_torch.dtype == torch.float64
    np.testing.assert_allclose(in_torch.numpy(), n.apply(npho, time, dead), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("n", CASES)
def test_torch_float32_agrees_within_a_few_ulp(n):
    rng = np.random.default_rng(4)
    # As in detectors: photons with noise, and every tenth channel below the threshold.
    npho = rng.exponential(2000, 20000).astype(np.float32) - np.float32(100)
    npho = npho[np.abs(npho - domain_minimum(n)) > 0.01]
    time = rng.normal(3e-8, 2e-8, npho.shape).astype(np.float32)
    dead = rng.random(npho.shape) < 0.05
    inputs = (torch.from_numpy(npho), torch.from_numpy(time), torch.from_numpy(dead))
    in_torch = torch.stack(normalise_arrays(*inputs, n, torch), -1)
    assert in_torch.dtype == torch.float32
    expected = n.apply(npho, time, dead)
    # Differences cancel near zero: a few ulp of the values that were subtracted.
    largest = np.maximum(np.abs(expected), [1 / n.npho_scale2, 1 + abs(n.time_shift)])
    if n.npho_scheme == "log1p":  # 1 + n/s amplifies a rounding where it nears zero
        largest[:, 0] *= np.maximum(1, 1 / np.maximum(1 + npho / n.npho_scale, 1e-3))
    assert (np.abs(in_torch.numpy() - expected) <= 4 * np.spacing(np.float32(largest))).all()


@pytest.mark.parametrize("name", ["regressor_finegrid", "regressor_split", "mae_finegrid"])
def test_research_inputs_bit_for_bit(reference, name):
    events = np.load(reference / "legacy" / f"{name}.npz")
    config = torch.load(reference / "legacy" / f"{name}.pth", weights_only=True)["config"]
    n = Normalisation(**{key: config[key] for key in Normalisation.model_fields})
    x = n.apply(events["npho"], events["time"], events["dead"])
    assert x.dtype == np.float32
    np.testing.assert_array_equal(x.view(np.uint32), events["x_norm"].view(np.uint32))


@pytest.mark.parametrize("dtype", [np.int32, np.float32, ">f4", np.float16])
def test_other_types_become_float32(dtype):
    npho = np.array([500, 2000]).astype(dtype)
    x = Normalisation().apply(npho, np.float32([1e-8, 2e-8]))
    assert x.dtype == np.float32
    expected = Normalisation().apply(np.float32([500, 2000]), np.float32([1e-8, 2e-8]))
    np.testing.assert_array_equal(x, expected)


def test_foreign_byte_order_keeps_its_precision():
    npho = np.array([500.123456789, 2000.0])
    x = Normalisation().apply(npho.astype(">f8"), np.zeros(2, ">f8"))
    assert x.dtype == np.float64
    np.testing.assert_array_equal(x, Normalisation().apply(npho, np.zeros(2)))


def test_dead_flags_broadcast_and_inputs_stay_untouched():
    rng = np.random.default_rng(5)
    npho = rng.exponential(500, (3, 4760)).astype(np.float32)
    time = rng.normal(0, 1e-8, npho.shape).astype(np.float32)
    npho.setflags(write=False)
    time.setflags(write=False)
    dead = rng.random(4760) < 0.1
    n = Normalisation(npho_scheme="sqrt")
    per_sensor = n.apply(npho, time, dead)
    per_event = n.apply(npho, time, np.broadcast_to(dead, npho.shape))
    np.testing.assert_array_equal(per_sensor, per_event)
    np.testing.assert_array_equal(n.apply(npho, time), n.apply(npho, time, np.zeros(4760, int)))
    assert n.apply(np.empty((0, 4760)), np.empty((0, 4760))).shape == (0, 4760, 2)


def test_shape_mismatch():
    with pytest.raises(UsageError, match=r"npho has shape \(2, 3\) but time has \(2, 4\)"):
        Normalisation().apply(np.zeros((2, 3)), np.zeros((2, 4)))
    with pytest.raises(UsageError, match=r"dead has shape \(2,\) but npho has \(2, 3\)"):
        Normalisation().apply(np.zeros((2, 3)), np.zeros((2, 3)), np.zeros(2))
    with pytest.raises(UsageError, match="dead has shape"):
        Normalisation().apply(np.zeros(3), np.zeros(3), np.zeros((2, 3)))


def test_channel_validity():
    npho = np.array([50, 99.9, 100, 500, 1e10, np.nan, 500, 500])
    time = np.array([0, 0, 0, 1e10, 0, 0, np.nan, 0])
    dead = np.array([False] * 7 + [True])
    npho_valid, time_valid = channel_validity(npho, time, dead, 100.0)
    np.testing.assert_array_equal(npho_valid, [1, 1, 1, 1, 0, 0, 1, 0])
    np.testing.assert_array_equal(time_valid, [0, 0, 1, 0, 0, 0, 0, 0])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"npho_scheme": "cbrt"}, "'log1p', 'sqrt', 'anscombe' or 'linear'"),
        ({"npho_scale": 0.0}, "greater than 0"),
        ({"npho_scale": -1.0}, "greater than 0"),
        ({"npho_scale": math.nan}, "npho_scale"),
        ({"npho_scale2": math.inf}, "finite number"),
        ({"time_scale": 0.0}, "greater than 0"),
        ({"time_shift": math.nan}, "finite number"),
        ({"sentinel_npho": math.inf}, "finite number"),
        ({"npho_threshold": math.nan}, "finite number"),
        ({"npho_scal": 1.0}, "Extra inputs are not permitted"),
    ],
)
def test_bad_parameters(wrong, message):
    with pytest.raises(ValidationError, match=message) as caught:
        Normalisation(**wrong)
    assert next(iter(wrong)) in str(caught.value)


def test_parameters_survive_json_and_cannot_change():
    n = Normalisation(npho_scheme="sqrt", npho_scale=20000.0, npho_scale2=1.0)
    assert Normalisation.model_validate_json(n.model_dump_json()) == n
    with pytest.raises(ValidationError, match="frozen"):
        n.npho_scale = 1.0


def test_values_float32_cannot_hold_become_infinite():
    n = Normalisation(npho_scheme="linear", npho_scale=1e-3)
    x = n.apply(np.float32([np.finfo(np.float32).min]), np.float32([0]))
    assert x[0, 0] == -np.inf


@example(n=Normalisation(), npho=-0.0)
@settings(max_examples=50, deadline=None)
@given(any_case, st.floats(0, 1e6))
def test_monotonic(n, npho):
    more = np.nextafter(npho * (1 + 1e-6) + 1e-3, np.inf)
    low, high = n.apply(np.array([npho, more]), np.zeros(2))[:, 0]
    assert low < high
