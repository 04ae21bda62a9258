import numpy as np
import pytest
import uproot

from xec_deploy.errors import InputError
from xec_deploy.report import read_results


def test_values_sigmas_and_bookkeeping_by_name(write_results, rows):
    results = read_results(write_results())
    assert list(results.values) == [
        "energy", "theta", "phi", "timing", "u", "v", "w", "x", "y", "z"
    ]  # fmt: skip
    assert list(results.sigmas) == ["energy"]
    np.testing.assert_allclose(results.values["u"], rows["u"], rtol=1e-6)
    np.testing.assert_array_equal(results.event, rows["event"])
    assert results.status_counts() == {
        "good": 0,
        "inpainted": 259,
        "too many dead": 1,
        "no valid input": 0,
        "outside training": 0,
        "unreadable": 0,
    }
    assert results.provenance["bundle"]["sha256"] == "ab" * 32
    assert not results.kept


def test_kept_branches_are_kept_and_raw_channels_are_not_loaded(write_results, rows):
    names = ["energy", "uvwTruth", "energyTruth"]
    results = read_results(write_results(names))
    assert set(results.kept) == {"uvwTruth", "energyTruth"}
    np.testing.assert_allclose(results.kept["uvwTruth"], rows["uvwTruth"])
    assert (results.run == -1).all()
    assert (results.status == 0).all()


def test_a_file_without_results_is_refused(events_file):
    with pytest.raises(InputError, match="no tree 'xec'"):
        read_results(events_file)


def test_a_tree_without_values_is_refused(write_results):
    with pytest.raises(InputError, match="no branch of reconstructed values"):
        read_results(write_results(["run", "event"]))


def test_a_damaged_or_missing_file_is_refused(tmp_path, write_results):
    path = write_results()
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(InputError, match="cannot be read"):
        read_results(path)
    with pytest.raises(InputError, match="cannot be read"):
        read_results(tmp_path / "absent.root")


def test_provenance_is_optional_but_must_be_json(tmp_path, write_results):
    assert read_results(write_results(origin=None)).provenance == {}
    path = tmp_path / "bad.root"
    with uproot.recreate(path) as file:
        file.mktree("xec", {"energy": "f4"})
        file["xec"].extend({"energy": np.ones(3, np.float32)})
        file["provenance"] = "{not json"
    with pytest.raises(InputError, match="not valid JSON"):
        read_results(path)
