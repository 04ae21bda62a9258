"""Collecting events: dead channels, order, halves of a correction, known errors found again."""

import numpy as np
import pytest
import torch

from xec_deploy.errors import InputError, UsageError
from xec_train.evaluation import EvaluationConfig
from xec_train.evaluation.correction import cross_corrected, fit_correction
from xec_train.evaluation.dead import dead_ranks
from xec_train.evaluation.sample import collect
from xec_train.evaluation.summary import plain, summarise

from .toys import ERRORS, Smeared, batches


class DeadCounter:
    """Tells how many channels it was shown dead, as if that were an energy."""

    name, kind = "counter", "conventional"

    def __init__(self):
        self.seen = []

    def estimate(self, batch):
        from xec_train.evaluation.methods import Estimates

        self.seen.append(batch.dead.clone())
        return Estimates({"energy": batch.dead.sum(dim=1).float().numpy()})


@pytest.mark.parametrize("pattern", ["channels", "boards"])
def test_dead_fractions_are_nested_and_of_the_right_size(pattern):
    run, event = np.full(40, 3), np.arange(40)
    ranks = dead_ranks(run, event, pattern=pattern)
    few, many = ranks < 0.02, ranks < 0.1
    assert (few <= many).all()
    assert few.mean() == pytest.approx(0.02, rel=0.2)
    assert many.mean() == pytest.approx(0.1, rel=0.1)
    assert len(np.unique(many.sum(axis=1))) > 3
    if pattern == "boards":
        boards = many[:, : 297 * 16].reshape(40, 297, 16)
        assert (boards.all(axis=2) == boards.any(axis=2)).all()
    # An event has its dead channels whatever batch it is in, and another seed has others.
    np.testing.assert_array_equal(dead_ranks(run[7:9], event[7:9], pattern=pattern), ranks[7:9])
    assert (dead_ranks(run, event, pattern=pattern, seed=1) != ranks).any()


def test_dead_ranks_of_unknown_runs():
    assert np.isfinite(dead_ranks(np.array([-1]), np.array([0]))).all()


def test_collect_adds_dead_channels_to_those_there_are():
    counter = DeadCounter()

    def with_dead():
        for batch in batches(60, size=30):
            batch.dead[:, :100] = True
            yield batch

    sample = collect(with_dead(), [counter], dead_fractions=(0.1, 0.0, 0.05))
    assert [condition.fraction for condition in sample.conditions] == [0.0, 0.05, 0.1]
    counts = [condition.estimates["counter"].values["energy"] for condition in sample.conditions]
    assert (counts[0] == 100).all()
    assert (counts[0] < counts[1]).all()
    assert (counts[1] < counts[2]).all()
    assert all(dead[:, :100].all() for dead in counter.seen)
    for condition, count in zip(sample.conditions, counts, strict=True):
        np.testing.assert_array_equal(condition.n_dead, count)


def test_collect_stops_and_numbers():
    from dataclasses import replace

    nameless = (replace(batch, run=None, event=None) for batch in batches(90, size=40))
    done = []
    sample = collect(nameless, [], max_events=50, progress=done.append)
    assert len(sample) == sum(done) == 50
    np.testing.assert_array_equal(sample.event, np.arange(50))
    assert (sample.run == -1).all()
    assert sample.truth["u"].dtype == np.float32


def test_collect_refuses_nonsense():
    with pytest.raises(InputError, match="no events"):
        collect([], [])
    with pytest.raises(UsageError, match="two methods"):
        collect(batches(5), [Smeared(), Smeared()])
    with pytest.raises(UsageError, match="not in"):
        collect(batches(5), [], dead_fractions=(1.0,))


@pytest.fixture(scope="module")
def summary():
    """Two networks, one with errors a half larger, both with predicted sigmas."""
    methods = [Smeared("good", claimed=1.0), Smeared("bad", 1.5, claimed=1.0, seed=2)]
    sample = collect(batches(5000), methods)
    config = EvaluationConfig(replicas=40)
    return summarise(sample, ["good", "bad"], [], config)


def test_known_errors_are_found(summary):
    found = summary.resolution["fiducial"]["good"]
    for name, scale in (("timing", 1e3), ("u", 10), ("v", 10), ("w", 10)):
        expected = scale * ERRORS[name]
        assert abs(found[name].sigma68 - expected) < 4 * found[name].sigma68_error, name
        assert abs(found[name].bias) < 4 * found[name].bias_error, name
        bins = summary.profiles["w"]["good"][name]
        pulls = (bins.values("sigma68") - expected) / bins.values("sigma68_error")
        assert (np.abs(pulls[np.isfinite(pulls)]) < 4.5).all(), name
    assert summary.resolution["all"]["good"]["u"].n == 5000
    assert summary.fiducial_events < 5000
    assert summary.resolution["fiducial"]["good"]["u"].n == summary.fiducial_events


def test_an_error_constant_in_energy_is_a_noise_term(summary):
    curve = summary.energy_curve["good"]
    assert curve.c == pytest.approx(100 * ERRORS["energy"], rel=0.15)
    assert curve.c > 3 * curve.c_error


def test_pulls_and_coverage_of_known_errors(summary):
    good, bad = (summary.pulls[name]["w"] for name in ("good", "bad"))
    assert good.pull.sigma68 == pytest.approx(1, rel=0.06)
    assert bad.pull.sigma68 == pytest.approx(1.5, rel=0.06)
    assert good.coverage[0].observed > bad.coverage[0].observed
    assert bad.calibration_error == pytest.approx(0.5, rel=0.2)
    # A sigma in GeV becomes one relative to the truth, as the residual is.
    assert summary.pulls["good"]["energy"].pull.sigma68 == pytest.approx(1, rel=0.06)


def test_empty_bins_and_missing_values_become_null(summary):
    text = plain(summary)
    assert text["profiles"]["w"]["good"]["u"]["points"][-1]["sigma68"] is None
    assert text["ratio"]["good"] == {}


def test_networks_are_compared_with_the_first(summary):
    ratio = summary.ratio["bad"]["good"]["u"]
    assert abs(ratio.value - 1.5) < 4 * ratio.error


def test_a_correction_undoes_a_known_bias():
    random = np.random.default_rng(4)
    n = 3000
    truth = random.uniform((-23, -67, 0.5), (23, 67, 12), (n, 3))
    light = np.exp(random.uniform(11, 13, n))
    fitted = truth.copy()
    fitted[:, 0] *= 1.05
    fitted[:, 2] = 1.5 + 0.8 * truth[:, 2] + 0.3 * np.log(light)
    fitted += random.normal(0, 0.1, (n, 3))
    correction = fit_correction(fitted, light, truth)
    assert correction.n == n
    rest = correction(fitted, light) - truth
    assert np.abs(np.median(rest, axis=0)).max() < 0.02
    assert rest.std(axis=0).max() < 0.2
    assert np.isnan(correction(np.full((1, 3), np.nan), [1.0])).all()
    with pytest.raises(InputError, match="At least 100"):
        fit_correction(fitted[:50], light[:50], truth[:50])


def test_halves_do_not_learn_from_themselves():
    """Changing the truth of one half changes the correction of the other half alone."""
    random = np.random.default_rng(5)
    truth = random.uniform((-23, -67, 0.5), (23, 67, 12), (600, 3))
    light, usable = np.ones(600), np.ones(600, bool)
    positions = truth + random.normal(0, 0.1, truth.shape)
    before = cross_corrected(positions, light, truth, usable, [(positions, light)])[0]
    truth[::2] += 1.0
    after = cross_corrected(positions, light, truth, usable, [(positions, light)])[0]
    np.testing.assert_array_equal(before[::2], after[::2])
    assert np.median(after[1::2] - before[1::2]) == pytest.approx(1, abs=0.05)


def test_batches_on_another_device_or_type_are_brought_back():
    half = (batch.map(lambda tensor: tensor.to(torch.float64)) for batch in batches(20))
    sample = collect(half, [Smeared()])
    assert sample.truth["energy"].dtype == np.float32
