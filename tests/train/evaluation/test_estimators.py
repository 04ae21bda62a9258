"""Estimators on toys with known answers."""

import math

import numpy as np
import pytest

from xec_deploy.errors import UsageError
from xec_train.evaluation.confusion import confusion
from xec_train.evaluation.energy_curve import fit_energy_curve
from xec_train.evaluation.pulls import summarise_pulls
from xec_train.evaluation.quantities import OPENING, containment, residuals_of, width_of
from xec_train.evaluation.ratio import paired_ratio
from xec_train.evaluation.worst import worst_events


@pytest.fixture
def random():
    return np.random.default_rng(3)


def test_opening_angle_of_two_gaussians(random):
    n, sigma = 20_000, 0.005
    truth = np.tile([[0.0], [0.0], [-1.0]], n)
    offsets = random.normal(0, sigma, (2, n))
    guess = np.stack([*offsets, -np.ones(n)]) * 3  # length must not matter
    names = ("direction_x", "direction_y", "direction_z")
    values, true = (dict(zip(names, side, strict=True)) for side in (guess, truth))
    opening = residuals_of(values, true)["opening"]
    found = width_of(OPENING.name, opening)
    expected = 1e3 * sigma * math.sqrt(-2 * math.log(1 - 0.682689))
    assert abs(found.sigma68 - expected) < 4 * found.sigma68_error
    assert 0.003 < found.sigma68_error / found.sigma68 < 0.02
    assert math.isnan(found.core_sigma)


def test_opening_angle_extremes():
    def opening(directions):
        names = ("direction_x", "direction_y", "direction_z")
        truth = dict(zip(names, np.eye(3), strict=True))
        return residuals_of(dict(zip(names, directions, strict=True)), truth)["opening"]

    tilted = np.eye(3) + 1e-9 * np.eye(3)[[1, 2, 0]]
    np.testing.assert_allclose(opening(tilted), 1e-6, rtol=1e-6)
    np.testing.assert_allclose(opening(-np.eye(3)), 1e3 * np.pi)
    assert np.isnan(opening(np.zeros((3, 3)))).all()


def test_containment_of_nothing():
    assert math.isnan(containment([]).sigma68)
    assert containment([np.nan, 1.0, 2.0]).excluded == 1


def test_ratio_error_is_the_spread_of_ratios(random):
    """What both methods have in common cancels in the error of their ratio, as it should."""
    n, found = 600, []
    for _ in range(60):
        common, own = random.normal(0, 1.0, n), random.normal(0, 0.2, (2, n))
        found.append(paired_ratio(common + own[0], common + own[1], replicas=40))
    spread = np.std([ratio.value for ratio in found])
    error = np.mean([ratio.error for ratio in found])
    assert error == pytest.approx(spread, rel=0.35)
    apart = paired_ratio(random.normal(0, 1, n), random.normal(0, 1, n))
    assert error < 0.7 * apart.error


def test_ratio_uses_events_both_have():
    first = np.array([1.0, np.nan, -1.0, 2.0, -2.0, 0.5])
    second = np.array([2.0, 5.0, -2.0, 4.0, -4.0, np.nan])
    found = paired_ratio(first, second)
    assert found.n == 4
    assert found.value == pytest.approx(0.5)
    with pytest.raises(UsageError, match="shapes"):
        paired_ratio(first, second[:3])
    assert math.isnan(paired_ratio([1.0], [1.0]).value)


def test_energy_curve(random):
    energy = np.linspace(0.018, 0.058, 9)
    truth = np.sqrt(0.25**2 / energy + 1.2**2 + 0.02**2 / energy**2)
    exact = fit_energy_curve(energy, truth, np.full(9, 0.02))
    assert exact is not None
    assert [exact.a, exact.b, exact.c] == pytest.approx([0.25, 1.2, 0.02], rel=1e-3)
    np.testing.assert_allclose(exact(energy), truth, rtol=1e-6)
    fits = [
        fit_energy_curve(energy, random.normal(truth, 0.02), np.full(9, 0.02)) for _ in range(40)
    ]
    pulls = np.array([(fit.b - 1.2) / fit.b_error for fit in fits])
    assert abs(pulls.mean()) < 1.0
    assert 0.4 < pulls.std() < 1.6
    assert np.mean([fit.chi2 for fit in fits]) < 12
    assert fits[0].ndf == 6


def test_energy_curve_without_enough_points():
    assert fit_energy_curve([0.02, 0.03, np.nan, 0.05], [1, 1, 1, 1], [0.1] * 4) is None
    constant = fit_energy_curve([0.02, 0.03, 0.04, 0.05], [1.5] * 4, [0.1] * 4)
    assert constant.b == pytest.approx(1.5)
    assert constant.a == pytest.approx(0, abs=1e-3)
    assert constant.a_error > 0
    with pytest.raises(UsageError, match="shapes"):
        fit_energy_curve([0.02, 0.03], [1.0], [0.1])


def test_pulls_of_a_perfect_prediction(random):
    sigma = random.uniform(1, 3, 20_000)
    found = summarise_pulls(random.normal(0, sigma), sigma, replicas=40)
    assert abs(found.pull.sigma68 - 1) < 4 * found.pull.sigma68_error
    for share, expected in zip(found.coverage, (0.682689, 0.954500), strict=True):
        assert share.expected == pytest.approx(expected, abs=1e-5)
        assert abs(share.observed - expected) < 4 * share.error
    assert len(found.calibration) == 10
    assert all(
        abs(point.observed - point.predicted) < 4 * point.observed_error
        for point in found.calibration
    )
    assert found.calibration_error < 2.5 * found.calibration_error_expected


def test_pulls_of_a_boastful_prediction(random):
    sigma = random.uniform(1, 3, 5000)
    found = summarise_pulls(random.normal(0.5, 2 * sigma), sigma, replicas=10)
    assert found.pull.sigma68 == pytest.approx(2, rel=0.06)
    assert found.coverage[0].observed == pytest.approx(math.erf(0.5 / math.sqrt(2)), abs=0.03)
    assert found.calibration_error == pytest.approx(1, rel=0.15)


def test_pulls_need_a_sigma():
    assert summarise_pulls([1.0, 2.0, 3.0], [0.0, np.nan, -1.0]) is None
    with pytest.raises(UsageError, match="shapes"):
        summarise_pulls([1.0, 2.0], [1.0])


def test_confusion():
    logits = np.eye(5)[[1, 1, 2, 2, 2, 0]]
    logits[5] = np.nan
    found = confusion(logits, [1, 1, 1, 2, 2, 1])
    assert found.matrix[1] == (0, 2, 1, 0, 0)
    assert found.matrix[2] == (0, 0, 2, 0, 0)
    assert found.efficiency[1].value == pytest.approx(2 / 3)
    assert found.efficiency[1].low < 2 / 3 < found.efficiency[1].high
    assert found.purity[2].value == pytest.approx(2 / 3)
    assert found.efficiency[4].value is None
    assert found.accuracy.value == pytest.approx(0.8)
    assert found.excluded == 1
    with pytest.raises(UsageError, match="shapes"):
        confusion(logits, [1, 2])


def test_the_worst_events_are_the_worst():
    """Losses 1 to 10 in any order give 10, 9, 8; equal ones do not disturb."""
    residual = np.array([3.0, -10.0, 1.0, 9.0, 8.0, 8.0, np.nan, 2.0])
    n = len(residual)
    found = worst_events(
        {"u": residual},
        {"u": 1.0},
        np.full(n, 5),
        np.arange(n),
        {"energy": np.full(n, 0.05)},
        count=4,
    )
    assert [event.event for event in found] == [1, 3, 4, 5]
    assert found[0].residual == {"u": -10.0}
    assert found[0].run == 5
    assert found[0].score == 10


def test_worst_events_over_quantities():
    residuals = {"u": np.array([1.0, 6.0, np.nan, np.nan]), "w": np.array([9.0, 2.0, 8.0, np.nan])}
    numbers = np.arange(4)
    found = worst_events(residuals, {"u": 2.0, "w": 4.0}, numbers, numbers, {}, count=9)
    # scores: sqrt((0.25 + 5.06) / 2), sqrt((9 + 0.25) / 2), 2 from w alone; the last has none
    assert [event.event for event in found] == [1, 2, 0]
    assert found[1].residual == {"u": None, "w": 8.0}
    inside = np.array([True, False, False, True])
    inner = worst_events(residuals, {"u": 2.0, "w": 4.0}, numbers, numbers, {}, inside=inside)
    assert [event.event for event in inner] == [0]
    assert worst_events(residuals, {"u": math.nan}, numbers, numbers, {}) == ()
