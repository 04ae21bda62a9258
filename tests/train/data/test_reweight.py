"""Weights that flatten: weighted histograms are flat, and average to one."""

import numpy as np
import pytest
import torch

from xec_deploy.errors import UsageError
from xec_train.config.regressor import Reweighting
from xec_train.data import EventWeights


def weights_of(bins, truth):
    weights = EventWeights(bins)
    weights.fit(truth)
    return weights({task: torch.from_numpy(values) for task, values in truth.items()}).numpy()


@pytest.fixture
def truth():
    random = np.random.default_rng(2)
    return {
        "energy": random.exponential(0.01, (4000, 1)).astype("f4"),
        "angle": random.normal(0, 20, (4000, 2)).astype("f4"),
        "uvwFI": random.normal(0, [8, 20, 3], (4000, 3)).astype("f4"),
    }


@pytest.mark.parametrize(
    ("task", "bins"), [("energy", (30,)), ("angle", (20, 20)), ("uvwFI", (5, 6, 7))]
)
def test_every_occupied_bin_counts_the_same(truth, task, bins):
    values = truth[task]
    weights = weights_of({task: bins}, {task: values})
    assert weights.dtype == np.float32
    assert weights.mean() == pytest.approx(1, rel=1e-5)
    histogram, _ = np.histogramdd(values, bins=bins, weights=weights)
    occupied = histogram[histogram > 0]
    assert len(occupied) > 10
    # an event on an edge may fall to either side
    np.testing.assert_allclose(np.median(occupied), occupied, rtol=0.5)
    assert np.mean(np.abs(occupied / np.median(occupied) - 1) < 1e-3) > 0.9


def test_two_tasks_are_multiplied(truth):
    both = weights_of({"energy": (10,), "angle": (5, 5)}, truth)
    single = weights_of({"energy": (10,)}, truth) * weights_of({"angle": (5, 5)}, truth)
    np.testing.assert_allclose(both, single / single.mean(), rtol=1e-4)


def test_one_value_only():
    same = {"energy": np.full((5, 1), 0.0528, "f4")}
    assert weights_of({"energy": (30,)}, same).tolist() == [1.0] * 5


def test_outside_the_range_the_nearest_bin_counts(truth):
    weights = EventWeights({"energy": (10,)})
    weights.fit(truth)
    found = weights({"energy": torch.tensor([[-1.0], [9.0]])})
    assert torch.isfinite(found).all()


def test_from_the_configuration():
    sections = {
        "angle": Reweighting(enabled=True, nbins_2d=(7, 8)),
        "uvwFI": Reweighting(enabled=True, nbins=4),
        "energy": Reweighting(),
        "timing": Reweighting(enabled=True),
    }
    weights = EventWeights.of_config(sections, ("angle", "uvwFI", "energy"))
    assert weights.bins == {"angle": (7, 8), "uvwFI": (4, 4, 4)}
    assert EventWeights.of_config({"energy": Reweighting()}, ("energy",)) is None
    with pytest.raises(UsageError, match=r"reweighting\.n_gamma"):
        EventWeights({"n_gamma": (5,)})


def test_the_stream_weighs_its_batches(stream, files):
    events = stream(files, shuffle=True, batch_size=30, reweighting=EventWeights({"energy": (8,)}))
    batches = list(events)
    energy = np.concatenate([batch.targets["energy"][:, 0] for batch in batches])
    weight = np.concatenate([batch.weight for batch in batches])
    assert weight.mean() == pytest.approx(1, rel=1e-5)
    counts, edges = np.histogram(energy, bins=8)
    flat, _ = np.histogram(energy, bins=edges, weights=weight)
    assert counts.std() > 1
    np.testing.assert_allclose(flat, 300 / 8, rtol=0.1)
