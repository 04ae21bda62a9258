import json

import numpy as np
import pytest

from xec_deploy.detector import design_geometry, xyz_to_uvw
from xec_deploy.detector.geometry import Geometry
from xec_deploy.errors import InputError, UsageError
from xec_deploy.physics import charge_observables, default_constants, estimate, resolution
from xec_deploy.physics.calibration import LabelledEvents, calibrate
from xec_deploy.physics.conventional import ConventionalConstants
from xec_deploy.simulation import SimulationConfig, simulate


@pytest.fixture(scope="module")
def sample():
    """500 simulated events, of a seed the constants were not fitted on, and their truth."""
    blocks = list(simulate(SimulationConfig(seed=77), 500, threads=1))
    return {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}


@pytest.fixture(scope="module")
def estimates(sample):
    return estimate(sample["npho"], sample["relative_time"], sample["dead"])


def fiducial(sample):
    u, v, _ = sample["uvwTruth"].T
    return (np.abs(u) < 23.9) & (np.abs(v) < 67.9)


@pytest.mark.parametrize(
    ("name", "truth", "scale", "limit"),
    [
        ("energy", "energyTruth", None, 2.3),
        ("u", ("uvwTruth", 0), 10, 3.3),
        ("v", ("uvwTruth", 1), 10, 3.1),
        ("w", ("uvwTruth", 2), 10, 5.2),
        ("timing", "timeTruth", 1e3, 80),
        ("theta", ("emiAng", 0), np.radians(1e3), 4.8),
        ("phi", ("emiAng", 1), np.radians(1e3), 4.8),
    ],
)
def test_resolution_and_bias_on_simulation(sample, estimates, name, truth, scale, limit):
    true = sample[truth] if isinstance(truth, str) else sample[truth[0]][:, truth[1]]
    value = getattr(estimates, name)
    residual = (value / true - 1) * 100 if scale is None else (value - true) * scale
    found = resolution(residual[fiducial(sample)])
    assert found.excluded == 0
    assert found.sigma68 < limit
    assert abs(found.bias) < 0.25 * limit


def test_xyz_is_the_same_point_as_uvw(estimates):
    xyz = np.stack([estimates.x, estimates.y, estimates.z], axis=1)
    uvw = np.stack([estimates.u, estimates.v, estimates.w], axis=1)
    np.testing.assert_allclose(xyz_to_uvw(xyz), uvw, atol=1e-9)


def test_an_event_does_not_depend_on_its_batch(sample, estimates):
    alone = estimate(sample["npho"][7:8], sample["relative_time"][7:8], sample["dead"][7:8])
    for name, values in alone.to_dict().items():
        np.testing.assert_allclose(values[0], getattr(estimates, name)[7], rtol=1e-9)


def test_what_a_dead_channel_holds_does_not_matter(sample):
    npho, time, dead = (sample[k][:40].copy() for k in ("npho", "relative_time", "dead"))
    plain = estimate(npho, time, dead).to_dict()
    for value in (np.nan, np.inf, 0.0, 12345.0):
        npho[dead], time[dead] = value, value
        for name, values in estimate(npho, time, dead).to_dict().items():
            np.testing.assert_array_equal(values, plain[name], err_msg=f"{name}, {value}")


def test_invalid_values_count_as_dead(sample):
    npho, time = sample["npho"][:40].copy(), sample["relative_time"][:40]
    dead = np.random.default_rng(1).random(npho.shape) < 0.05
    flagged = estimate(npho, time, dead).to_dict()
    npho[dead & (np.arange(4760) % 2 == 0)] = np.nan
    npho[dead & (np.arange(4760) % 2 == 1)] = 1e10
    for name, values in estimate(npho, time, np.zeros_like(dead)).to_dict().items():
        np.testing.assert_array_equal(values, flagged[name])


def test_dead_channels_cost_little(sample):
    """A twentieth of the channels lost at random leaves the energy scale within a per mille."""
    dead = sample["dead"] | (np.random.default_rng(2).random(sample["dead"].shape) < 0.05)
    more = estimate(sample["npho"], sample["relative_time"], dead)
    inside = fiducial(sample)
    ratio = more.energy[inside] / sample["energyTruth"][inside] - 1
    assert abs(resolution(ratio).bias) < 0.004
    assert resolution(ratio).sigma68 < 0.026


@pytest.mark.parametrize("fill", [np.nan, 1e10, 0.0, -3.0])
def test_an_event_without_light_has_no_values(fill):
    npho = np.full((2, 4760), fill, dtype=np.float32)
    found = estimate(npho, np.full_like(npho, 1e10), np.zeros(npho.shape, bool))
    for name, values in found.to_dict().items():
        assert np.isnan(values).all(), name


def test_an_event_without_times_has_a_position_but_no_time(sample):
    npho, dead = sample["npho"][:3], sample["dead"][:3]
    found = estimate(npho, np.full_like(npho, 1e10), dead)
    assert np.isfinite(found.u).all()
    assert np.isnan(found.timing).all()


def test_noise_around_zero_does_not_upset_the_arithmetic():
    npho = np.random.default_rng(3).normal(0, 8, (20, 4760))
    for values in estimate(npho, npho * 1e-8, np.zeros(npho.shape, bool)).to_dict().values():
        assert not np.isinf(values).any()


def test_a_survey_moves_the_centroid(sample):
    design = design_geometry()
    shifted = Geometry(
        design.position + np.array([0, 0, 0.5]), design.normal, design.face, "shifted"
    )
    npho, dead = sample["npho"][:20], sample["dead"][:20]
    plain = charge_observables(npho, dead)
    moved = charge_observables(npho, dead, geometry=shifted)
    np.testing.assert_allclose(moved.centroid[:, 0] - plain.centroid[:, 0], 0.5, atol=1e-6)


def test_a_wrong_shape_is_named():
    with pytest.raises(UsageError, match=r"npho has shape \(3, 100\)"):
        estimate(np.zeros((3, 100)), np.zeros((3, 100)), np.zeros((3, 100), bool))


def test_calibration_on_the_sample_is_close_to_the_shipped_one(sample, estimates):
    events = [LabelledEvents.from_simulation(sample)]
    constants = calibrate(events, origin={"sample": "test"})
    assert constants.origin["sample"] == "test"
    own = estimate(sample["npho"], sample["relative_time"], sample["dead"], constants=constants)
    inside = fiducial(sample) & (sample["uvwTruth"][:, 2] < 8)
    assert np.median(own.energy[inside] / estimates.energy[inside]) == pytest.approx(1, abs=0.004)
    assert np.median(np.abs(own.u - estimates.u)[inside]) < 0.1
    assert np.median(np.abs(own.w - estimates.w)[inside]) < 0.2


def test_calibration_needs_events(sample):
    few = {name: values[:50] for name, values in sample.items()}
    with pytest.raises(InputError, match="needed"):
        calibrate([LabelledEvents.from_simulation(few)])
    with pytest.raises(InputError, match="needed"):
        calibrate([])


def test_constants_survive_json(tmp_path):
    path = tmp_path / "constants.json"
    path.write_text(json.dumps(default_constants().to_dict()))
    assert ConventionalConstants.read(path) == default_constants()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "cannot read"),
        ("[]", "not a JSON object"),
        ('{"face_wieght": [1]}', "Did you mean 'face_weight'"),
        ('{"u": [1]}', "no list of numbers"),
    ],
)
def test_bad_constants_are_named(tmp_path, content, message):
    path = tmp_path / "constants.json"
    path.write_text(content)
    with pytest.raises(InputError, match=message):
        ConventionalConstants.read(path)
