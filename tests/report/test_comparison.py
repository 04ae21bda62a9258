import numpy as np
import pytest

from xec_deploy.errors import InputError
from xec_deploy.report import read_results
from xec_deploy.report.comparison import compare, take_snapshots


def test_truth_comes_from_the_input_the_provenance_names(write_results, rows, events_file):
    results = read_results(write_results())
    found = compare(results, conventional_events=100)
    np.testing.assert_allclose(found.truth["energy"], rows["energyTruth"])
    np.testing.assert_allclose(found.truth["phi"], rows["emiAng"][:, 1])
    assert str(events_file) in found.note
    known = np.isfinite(found.conventional["u"])
    assert 100 <= found.n_conventional == known.sum() < len(results)
    u, v, _ = rows["uvwTruth"].T
    np.testing.assert_array_equal(found.fiducial(results), (np.abs(u) < 23.9) & (np.abs(v) < 67.9))


def test_truth_kept_in_the_results_needs_no_input(write_results, rows):
    path = write_results(["energy", "u", "v", "w", "energyTruth", "uvwTruth"], origin={})
    found = compare(read_results(path))
    assert set(found.truth) == {"energy", "u", "v", "w"}
    np.testing.assert_allclose(found.truth["w"], rows["uvwTruth"][:, 2])
    assert not found.conventional
    assert "kept branches" in found.note


def test_without_input_there_is_no_truth_but_a_reason(write_results, provenance):
    found = compare(read_results(write_results(origin={})))
    assert not found.truth
    assert "do not name their input" in found.note
    gone = {**provenance, "input": {**provenance["input"], "path": "/gone/events.root"}}
    found = compare(read_results(write_results(origin=gone)))
    assert not found.truth
    assert "/gone/events.root" in found.note


def test_an_input_with_other_events_is_not_truth(write_results, events_file):
    fewer = read_results(write_results(select=slice(0, 200)))
    assert not compare(fewer).truth
    with pytest.raises(InputError, match="260 events"):
        compare(fewer, events=events_file)
    others = read_results(write_results(select=slice(None, None, -1)))
    with pytest.raises(InputError, match="differ from the results"):
        compare(others, events=events_file)


def test_several_inputs_of_one_file_follow_each_other(write_results, rows, provenance):
    records = [provenance["input"], provenance["input"]]
    origin = {**provenance, "inputs": records}
    del origin["input"]
    twice = np.tile(np.arange(len(rows["run"])), 2)
    results = read_results(write_results(origin=origin, select=twice))
    found = compare(results, conventional_events=10)
    np.testing.assert_allclose(found.truth["u"], rows["uvwTruth"][twice, 0])
    first, second = take_snapshots(found, [4, 4 + len(rows["run"])])
    np.testing.assert_array_equal(first.npho, second.npho)
    assert second.entry == 4 + len(rows["run"])


@pytest.mark.parametrize("with_input", [True, False])
def test_a_conventional_reconstruction_in_the_results_is_used(
    write_results, rows, provenance, with_input
):
    names = ["run", "event", "energy", "energy_conv", "u_conv", "v_conv", "w_conv"]
    path = write_results(names, origin=provenance if with_input else {})
    results = read_results(path)
    found = compare(results, conventional_events=10)
    assert set(found.conventional) == {"energy", "u", "v", "w"}
    np.testing.assert_allclose(found.conventional["u"], rows["u_conv"], rtol=1e-6)
    assert found.n_conventional == len(results)
    assert bool(found.truth) == with_input
