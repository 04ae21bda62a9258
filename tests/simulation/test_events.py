"""Simulated events: reproducible, complete, consistent with their truth, physical."""

import numpy as np
import pytest

from xec_deploy.detector import (
    FACES,
    N_SENSORS,
    angles_to_direction,
    design_geometry,
    direction_to_angles,
    xyz_to_uvw,
)
from xec_deploy.detector.constants import R_EFF, R_OUTER
from xec_deploy.errors import UsageError
from xec_deploy.simulation import BLOCK_EVENTS, SimulationConfig, TorchArrays, simulate
from xec_deploy.simulation.generate import BRANCHES

FACE_OF = design_geometry().face


def assert_same(left, right):
    assert left.keys() == right.keys()
    for name in left:
        np.testing.assert_array_equal(left[name], right[name], err_msg=name)


@pytest.fixture(scope="module")
def line(sample):
    """Signal photons at the middle of the detector, in a detector without defects."""
    return sample(
        150,
        energy_min=52.8,
        energy_max=52.8,
        entry_u_max=10,
        entry_v_max=30,
        dead_fraction_min=0,
        dead_fraction_max=0,
        dead_board_probability=0,
    )


def test_branches(events):
    assert events.keys() == BRANCHES.keys()
    for name, (dtype, _, shape) in BRANCHES.items():
        assert events[name].dtype == np.dtype(dtype), name
        assert events[name].shape == (300, *shape), name
        assert np.isfinite(events[name]).all(), name


@pytest.mark.parametrize("pileup", [0.0, 0.5])
def test_threads_do_not_change_the_events(sample, pileup):
    once = sample(230, pileup_fraction=pileup, threads=1)
    assert_same(once, sample(230, pileup_fraction=pileup, threads=2))
    assert_same(once, sample(230, pileup_fraction=pileup, threads=5))


def test_any_split_in_files(events, sample):
    first = sample(100, events_per_run=100)
    second = sample(70, first_event=100, events_per_run=100)
    third = sample(130, first_event=150, events_per_run=100)
    for name, values in events.items():
        np.testing.assert_array_equal(values[:100], first[name])
        np.testing.assert_array_equal(values[100:170], second[name])
        np.testing.assert_array_equal(values[150:280], third[name])


def test_seeds_differ(events, sample):
    other = sample(50, seed=2, events_per_run=100)
    assert not np.isin(other["energyTruth"], events["energyTruth"]).any()
    assert (other["dead"][0] != events["dead"][0]).any()
    assert_same(other, sample(50, seed=2, events_per_run=100))


def test_blocks_differ(events):
    assert len(np.unique(events["energyTruth"])) > 290
    assert len(np.unique(events["xyzTruth"], axis=0)) == 300


def test_numbering(events):
    np.testing.assert_array_equal(events["event"], np.arange(300))
    np.testing.assert_array_equal(events["run"], 430000 + np.arange(300) // 100)


def test_conditions_are_those_of_the_run(events):
    for run in np.unique(events["run"]):
        dead = events["dead"][events["run"] == run]
        assert (dead == dead[0]).all()
    assert (events["dead"][0] != events["dead"][150]).any()


def test_calibration_is_constant_in_a_run_and_spreads(sample):
    quiet = {
        "energy_min": 52.8,
        "energy_max": 52.8,
        "common_spread": 0.0,
        "excess_noise": 1.0,
        "noise_photoelectrons": 0.0,
        "dead_fraction_min": 0.0,
        "dead_fraction_max": 0.0,
        "dead_board_probability": 0.0,
    }
    spread = sample(100, calibration_spread=0.1, events_per_run=100, **quiet)
    exact = sample(100, calibration_spread=0.0, events_per_run=100, **quiet)
    lit = (exact["npho"] > 0).all(axis=0)
    assert lit.sum() > 500
    ratio = spread["npho"][:, lit] / exact["npho"][:, lit]
    np.testing.assert_allclose(ratio, ratio[:1].repeat(100, 0), rtol=1e-5)
    assert ratio[0].std() == pytest.approx(0.1, rel=0.15)
    assert ratio[0].mean() == pytest.approx(1, abs=0.02)


def test_dead_channels(events, sample):
    dead = events["dead"]
    np.testing.assert_array_equal(events["nDead"], dead.sum(axis=1))
    assert (events["npho"][dead] == np.float32(1e10)).all()
    assert (events["relative_time"][dead] == np.float32(1e10)).all()
    assert (events["npho"][~dead] < 9e9).all()
    fractions = sample(50 * 40, events_per_run=50, n_spots=1)["nDead"][::50] / N_SENSORS
    # 1 to 3 %, with the chance fluctuation of one run and at most one dead board.
    assert fractions.min() > 0.005
    assert fractions.max() < 0.04
    assert fractions.mean() == pytest.approx(0.02, abs=0.004)


def test_dead_boards(sample):
    dead = sample(
        100,
        events_per_run=50,
        dead_fraction_min=0,
        dead_fraction_max=0,
        dead_board_probability=1,
        n_spots=1,
    )["dead"][[0, 50]]
    for flags in dead:
        ids = np.flatnonzero(flags)
        np.testing.assert_array_equal(ids, ids[0] + np.arange(16))
        assert ids[0] % 16 == 0
    assert (dead[0] != dead[1]).any()


def test_truth_is_consistent(events):
    uvw, xyz = events["uvwTruth"], events["xyzTruth"]
    np.testing.assert_allclose(xyz_to_uvw(xyz), uvw, atol=1e-4)
    np.testing.assert_allclose(direction_to_angles(events["emiVec"]), events["emiAng"], atol=1e-4)
    np.testing.assert_allclose(angles_to_direction(events["emiAng"]), events["emiVec"], atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(events["emiVec"], axis=1), 1, atol=1e-6)
    flight = xyz - events["xyzVTX"]
    flight /= np.linalg.norm(flight, axis=1, keepdims=True)
    np.testing.assert_allclose(flight, events["emiVec"], atol=1e-6)
    assert (events["nGamma"] == 1).all()


def test_truth_is_in_range(events):
    energy = events["energyTruth"]
    assert (energy >= 0.015).all()
    assert (energy <= 0.060).all()
    assert energy.mean() == pytest.approx(0.0375, abs=0.003)
    radius = np.hypot(events["xyzTruth"][:, 0], events["xyzTruth"][:, 1])
    assert (radius > R_EFF).all()
    assert (radius < R_OUTER).all()
    assert (events["uvwTruth"][:, 2] > 0).all()
    assert (np.abs(events["uvwTruth"][:, 1]) <= 69.001).all()
    # Entry points are within 24.5 cm; the straight path leads further out with depth.
    u_entry = events["uvwTruth"][:, 0] * R_EFF / radius
    assert (np.abs(u_entry) <= 24.501).all()
    assert (np.abs(events["emiAng"][:, 0] - 90) < 25).all()


def test_conversion_depth_is_exponential(sample):
    many = sample(1000, n_spots=1)
    radius = np.hypot(many["xyzTruth"][:, 0], many["xyzTruth"][:, 1])
    depth = (radius - R_EFF) / np.sin(np.radians(many["emiAng"][:, 0]))
    mean = 9 / 7 * 2.77
    assert depth.mean() == pytest.approx(mean, abs=5 * mean / np.sqrt(1000))
    assert np.median(depth) == pytest.approx(mean * np.log(2), abs=0.5)


def test_vertex_spread(sample):
    vertex = sample(200, vertex_sigma=1.5, n_spots=1)["xyzVTX"]
    assert vertex.std() == pytest.approx(1.5, rel=0.15)
    assert (sample(50, n_spots=1)["xyzVTX"] == 0).all()


def test_light_is_proportional_to_energy(sample, total_photoelectrons):
    fixed = {"entry_u_max": 5, "entry_v_max": 20, "common_spread": 0, "n_spots": 60}
    totals = [
        total_photoelectrons(sample(150, energy_min=e, energy_max=e, **fixed)).mean()
        for e in (15.0, 30.0, 60.0)
    ]
    per_mev = np.array(totals) / [15.0, 30.0, 60.0]
    np.testing.assert_allclose(per_mev, per_mev.mean(), rtol=0.05)


def test_photoelectrons_of_the_signal(line, total_photoelectrons):
    # Photon statistics alone would give 0.35 %, that is about 8e4 photoelectrons.
    total = total_photoelectrons(line)
    assert 7e4 < total.mean() < 1.3e5
    assert 0.01 < total.std() / total.mean() < 0.15


def test_the_brightest_sensor_is_near(line):
    brightest = line["npho"].argmax(axis=1)
    distance = np.linalg.norm(design_geometry().position[brightest] - line["xyzTruth"], axis=1)
    depth = line["uvwTruth"][:, 2]
    shallow = depth < 5
    assert shallow.sum() > 50
    assert np.median(distance[shallow]) < 5
    assert (FACE_OF[brightest[shallow]] == 0).mean() > 0.9


def test_inner_centroid_follows_the_truth(line):
    inner = np.clip(line["npho"][:, :4092], 0, None) ** 2
    uvw = design_geometry().uvw[:4092, :2]
    centroid = (inner @ uvw) / inner.sum(axis=1, keepdims=True)
    for axis in range(2):
        truth = line["uvwTruth"][:, axis]
        assert np.corrcoef(centroid[:, axis], truth)[0, 1] > 0.97


def test_mirror_symmetry(sample):
    # A detector without defects looks the same under u -> -u: 1000 events, face by face.
    many = sample(
        1000,
        dead_fraction_min=0,
        dead_fraction_max=0,
        dead_board_probability=0,
        calibration_spread=0,
        n_spots=8,
    )
    npho = many["npho"].astype(np.float64)
    upstream, downstream = npho[:, FACE_OF == 2].sum(1), npho[:, FACE_OF == 3].sum(1)
    difference = upstream - downstream
    assert abs(difference.mean()) < 5 * difference.std() / np.sqrt(1000)
    image = npho[:, :4092].reshape(1000, 93, 44)
    for left, right in (
        (image[:, :, :22].sum((1, 2)), image[:, :, 22:].sum((1, 2))),
        (image[:, :46].sum((1, 2)), image[:, 47:].sum((1, 2))),
        (npho[:, FACE_OF == 4].sum(1), npho[:, FACE_OF == 5].sum(1)),
    ):
        difference = left - right
        assert abs(difference.mean()) < 5 * difference.std() / np.sqrt(1000)
    assert upstream.mean() > 0


def test_every_face_sees_light(events):
    for number, face in enumerate(FACES):
        seen = events["npho"][:, number == FACE_OF]
        live = seen < 9e9
        assert seen[live].mean() > 10, face


def test_times(events):
    time, npho = events["relative_time"], events["npho"]
    timed = time < 9e9
    live = npho < 9e9
    assert (timed <= live).all()
    bright = live & (npho > 1000)
    assert timed[bright].all()
    # Relative to the earliest channel of more than 50 photoelectrons.
    efficiency = np.where(np.arange(N_SENSORS) < 4092, 0.12, 0.16)
    certain = timed & (npho * efficiency > 60)
    earliest = np.where(certain, time, np.inf).min(axis=1)
    assert (earliest > -1e-12).all()
    assert np.median(earliest) < 1e-10
    assert (time[certain] < 40e-9).all()
    # On this scale the conversion is some ns off: the flight of the light to the nearest sensor
    # against the time fluctuation of the earliest one.
    assert (np.abs(events["timeTruth"]) < 12).all()


def test_light_takes_its_time(sample):
    exact = sample(
        100,
        time_sigma_photoelectron=0,
        time_sigma_floor=0,
        time_sigma_common=0,
        noise_photoelectrons=0,
        excess_noise=1,
    )
    since = exact["relative_time"] - exact["timeTruth"][:, None] * np.float32(1e-9)
    timed = exact["relative_time"] < 9e9
    distance = np.linalg.norm(
        design_geometry().position - exact["xyzTruth"][:, None].astype(np.float64), axis=-1
    )
    fastest = 1.61 / 2.99792458e10
    speed = since[timed] / (distance[timed] * fastest)
    # From the middle of the shower, not from the first conversion: a spread, but no channel,
    # lit directly or by scattered light alone, is much earlier than light can be.
    assert np.median(speed) == pytest.approx(1, abs=0.15)
    assert (exact["timeTruth"] < 0).all()  # the conversion precedes its light
    late = distance[timed] > 25
    assert speed[late].min() > 0.5


def test_diffuse_fraction(sample):
    dark = {
        "noise_photoelectrons": 0,
        "dead_fraction_min": 0,
        "dead_fraction_max": 0,
        "dead_board_probability": 0,
        "calibration_spread": 0,
        "common_spread": 0,
    }
    without, with_pool = (
        sample(100, diffuse_fraction=fraction, **dark)["npho"].astype(np.float64)
        for fraction in (0.0, 0.25)
    )
    # The pool adds to every sensor in proportion to its area ...
    assert with_pool.sum() / without.sum() == pytest.approx(1 / 0.75, rel=0.02)
    added = (with_pool - without).mean(axis=0)
    mppc, pmt = added[:4092].mean(), added[4092:].mean()
    assert pmt / mppc == pytest.approx(np.pi * 2.25**2 / 1.18**2, rel=0.05)
    # ... so that sensors which no spot sees are dark without it.
    unseen = (without == 0).mean()
    assert unseen > 0.3
    assert (with_pool == 0).mean() < unseen / 3


def test_pile_up(sample, total_photoelectrons):
    one = sample(200, common_spread=0)
    some = sample(200, common_spread=0, pileup_fraction=0.4)
    second = some["nGamma"] == 2
    assert set(some["nGamma"]) == {1, 2}
    assert second.mean() == pytest.approx(0.4, abs=0.15)
    np.testing.assert_array_equal(some["energyTruth"], one["energyTruth"])
    ratio = total_photoelectrons(some) / total_photoelectrons(one)
    np.testing.assert_allclose(ratio[~second], 1, atol=0.05)
    assert (ratio[second] > 1.05).mean() > 0.8
    assert (sample(50, pileup_fraction=1.0)["nGamma"] == 2).all()


def test_surveyed_geometry(sample, reference, events):
    from xec_deploy.detector import read_sensor_table

    surveyed = sample(50, geometry=read_sensor_table(reference / "sensor_table.csv"))
    np.testing.assert_array_equal(surveyed["xyzTruth"], events["xyzTruth"][:50])
    live = (surveyed["npho"] < 9e9) & (events["npho"][:50] < 9e9)
    assert (surveyed["npho"][live] != events["npho"][:50][live]).mean() > 0.5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"first_event": 7}, "multiple of 50"),
        ({"first_event": -50}, "first_event is -50"),
        ({"n_events": -1}, "cannot simulate -1 events"),
        ({"threads": 0}, "in 0 threads"),
    ],
)
def test_impossible_sample(arguments, message):
    arguments = {"n_events": 10, **arguments}
    with pytest.raises(UsageError, match=message):
        next(simulate(SimulationConfig(), **arguments))


def test_no_events():
    assert list(simulate(SimulationConfig(), 0)) == []
    assert BLOCK_EVENTS == 50


def test_torch_gives_the_same_physics(sample, events, total_photoelectrons):
    options = {"events_per_run": 100}
    in_torch = sample(300, arrays=TorchArrays("cpu"), **options)
    assert_same(
        {name: values[:50] for name, values in in_torch.items()},
        sample(50, arrays=TorchArrays("cpu"), **options),
    )
    for name, (dtype, _, _) in BRANCHES.items():
        assert in_torch[name].dtype == np.dtype(dtype), name
        assert np.isfinite(in_torch[name]).all(), name
    # A run has the same dead channels wherever it is simulated.
    np.testing.assert_array_equal(in_torch["dead"], events["dead"])
    live = ~events["dead"][0]

    def figures(sample_):
        npho, time = sample_["npho"].astype(np.float64), sample_["relative_time"]
        timed = time < 9e9
        per_mev = total_photoelectrons(sample_) / sample_["energyTruth"]
        faces = [npho[:, live & (face == FACE_OF)].clip(None, 1e8).mean(1) for face in range(6)]
        mean_time = np.where(timed, time, 0).sum(1) / timed.sum(1)
        depth = sample_["uvwTruth"][:, 2]
        return [per_mev, timed.mean(1), mean_time, sample_["timeTruth"], depth, *faces]

    for index, (left, right) in enumerate(zip(figures(events), figures(in_torch), strict=True)):
        error = np.hypot(left.std(), right.std()) / np.sqrt(300)
        assert abs(left.mean() - right.mean()) < 5 * error, index
