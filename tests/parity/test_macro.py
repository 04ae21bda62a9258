"""The conventional fit in C++ against the experiment's macro, as the report has it."""

import numpy as np
import pytest

from xec_deploy.errors import InputError, UsageError
from xec_deploy.parity import check_parity, load_gates
from xec_deploy.parity.macro import compare_with_macro


@pytest.fixture(scope="module")
def files(reference):
    return reference / "localfit" / "localfit.npz", reference / "sensor_table.csv"


def test_every_event_is_within_the_tolerance_or_better(files):
    parts = compare_with_macro(*files, load_gates().macro)
    assert [part.quantity for part in parts] == [
        "stage 1", "fit u", "fit v", "fit w", "dead channels, relative",
    ]  # fmt: skip
    for part in parts:
        assert part.passed
        assert part.within + part.better == part.values > 0
        assert part.p50 <= part.p99 <= part.maximum
    stage1, u, *_ = parts
    assert stage1.better == 0
    assert u.within > 0.9 * u.values


def test_another_result_fails(files, tmp_path):
    path, geometry = files
    with np.load(path) as macro:
        arrays = dict(macro)
    arrays["uvw_stage1"] = arrays["uvw_stage1"] + [0, 0.01, 0]
    arrays["uvw_fit"] = arrays["uvw_fit"] + [0, 0, 0.1]
    arrays["fit_chisq_ndf"] = arrays["fit_chisq_ndf"] * 0.99
    np.savez(tmp_path / "other.npz", **arrays)
    stage1, *fits, dead = compare_with_macro(tmp_path / "other.npz", geometry, load_gates().macro)
    assert stage1.failed == stage1.values
    assert all(fit.failed > 0.8 * fit.values for fit in fits)
    assert not stage1.passed
    # No fit agrees, so there is no prediction to compare, which is no pass either.
    assert (dead.values, dead.failed, dead.passed) == (0, 0, False)


def test_part_of_the_report(bundle, files):
    path, geometry = files
    report = check_parity(bundle, against=["cpp"], macro=path, geometry=geometry, repeats=False)
    assert report.passed
    assert len(report.to_dict()["macro"]) == 5
    assert report.to_dict()["macro"][0]["passed"] is True


def test_wrong_use_is_a_sentence(bundle, tmp_path):
    with pytest.raises(UsageError, match="Add cpp"):
        check_parity(bundle, against=["onnxruntime"], macro="any.npz")
    np.savez(tmp_path / "odd.npz", npho=np.zeros(3))
    for name in ("odd.npz", "absent.npz"):
        with pytest.raises(InputError, match="cannot be read"):
            check_parity(bundle, against=["cpp"], macro=tmp_path / name)
