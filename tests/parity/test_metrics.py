"""Figures of known differences."""

import numpy as np
import pytest

from xec_deploy.bundle import TASK_OUTPUTS, TaskRecord
from xec_deploy.parity.events import EventLabel
from xec_deploy.parity.metrics import compare

FACTS = {
    "engine": "test", "version": "1", "device": "cpu", "precision": "fp32", "event_set": "data",
    "gate": 0.001,
}  # fmt: skip


def manifest_of(bundle, **tasks):
    return bundle.manifest.model_copy(update={"tasks": tasks})


@pytest.fixture
def energy(bundle):
    return manifest_of(bundle, energy=TaskRecord(outputs=TASK_OUTPUTS["energy"]))


def figures(manifest, reference, values):
    labels = [EventLabel("f.root", 10 + i, 7, 100 + i) for i in range(len(reference))]
    tensors = {"energy": np.asarray(reference, np.float64)[:, None]}
    outputs = {"energy": np.asarray(values, np.float64)[:, None]}
    (result,) = compare(manifest, tensors, outputs, labels, **FACTS)
    return result


def test_figures_in_physical_units_and_resolutions(energy, random):
    resolution = TASK_OUTPUTS["energy"][0].detector_sigma
    reference = random.uniform(0.02, 0.06, 5000)
    difference = random.normal(0.2, 0.5, 5000) * resolution
    result = figures(energy, reference, reference + difference)
    assert result.quantity == "energy"
    assert result.unit == "GeV"
    assert result.resolution == resolution
    assert result.bias == pytest.approx(difference.mean())
    assert result.relative_spread == pytest.approx(0.5, rel=0.05)
    assert result.relative_bias == pytest.approx(0.2, rel=0.2)
    size = np.sort(np.abs(difference))
    assert size[0] <= result.p50 <= result.p99 <= result.maximum == pytest.approx(size[-1])
    assert not result.passed


def test_worst_events_have_run_and_event(energy):
    reference = np.full(8, 0.05)
    values = reference.copy()
    values[[2, 6, 4]] += [-0.003, 0.002, 0.001]
    worst = figures(energy, reference, values).worst
    assert [(event.run, event.event, event.entry) for event in worst] == [
        (7, 102, 12), (7, 106, 16), (7, 104, 14),
    ]  # fmt: skip
    assert worst[0].difference == pytest.approx(-0.003)


def test_a_bias_within_a_small_spread_fails(energy):
    reference = np.linspace(0.02, 0.06, 100)
    result = figures(energy, reference, reference + 0.01 * 0.00095)
    assert result.relative_spread < 1e-9
    assert not result.passed


def test_a_value_only_one_has_fails(energy):
    reference = np.full(6, 0.05)
    values = reference.copy()
    values[3] = np.nan
    result = figures(energy, reference, values)
    assert (result.events, result.one_sided) == (5, 1)
    assert not result.passed
    reference[3] = np.nan
    both = figures(energy, reference, values)
    assert (both.events, both.one_sided) == (5, 0)
    assert both.passed


def test_nothing_to_compare_is_no_pass(energy):
    nothing = np.full(3, np.nan)
    result = figures(energy, nothing, nothing)
    assert result.events == 0
    assert result.worst == ()
    assert not result.passed


def test_predicted_sigmas_get_a_scale(bundle):
    manifest = manifest_of(
        bundle, energy=TaskRecord(outputs=TASK_OUTPUTS["energy"], has_sigma=True)
    )
    values = np.linspace(0.001, 0.002, 50)[:, None]
    tensors = {"energy": values, "energy_sigma": values}
    labels = [EventLabel("f.root", i) for i in range(50)]
    energy, sigma = compare(manifest, tensors, tensors, labels, **FACTS)
    assert not energy.assumed_resolution
    assert sigma.quantity == "energy_sigma"
    assert sigma.assumed_resolution
    assert sigma.resolution * 0.001 == pytest.approx(0.002 * 1e-5)
