"""What is compared in one call, and what is said of the rest."""

import numpy as np
import pytest

from xec_deploy.errors import MissingExtra, UsageError, XecError
from xec_deploy.parity import check_parity
from xec_deploy.parity import run as parity_run
from xec_deploy.parity.engines import ENGINES, Wanted
from xec_deploy.parity.rows import plan_rows
from xec_deploy.parity.summary import missing_rows, summarise


def rows(bundle, **options):
    wanted = {"engines": None, "precisions": None, "device": None, "checkpoint": None, **options}
    return plan_rows(bundle, *wanted.values())


def test_all_precisions_are_the_graphs_and_what_engines_make_of_them(two):
    pytest.importorskip("openvino")
    planned, absent = rows(two, precisions=["all"])
    assert Wanted("openvino", "cpu", "bf16") in planned
    assert Wanted("onnxruntime", "cpu", "fp16") in planned
    assert Wanted("onnxruntime", "cpu", "bf16") not in planned
    assert {row.engine for row in planned} | {part.engine for part in absent} == set(ENGINES)
    assert all(part.reason for part in absent)


def test_a_precision_stands_for_the_graphs_of_that_name(two):
    planned, _ = rows(two, engines=["cpp"], precisions=["fp16", "fp32", "fp16"])
    assert [row.precision for row in planned] == ["fp16", "fp32"]
    with pytest.raises(UsageError, match=r"no 'fp61' graph.*Did you mean"):
        rows(two, precisions=["fp61"])


def test_an_engine_that_is_named_and_absent_is_an_error(bundle, monkeypatch):
    from importlib.util import find_spec

    from xec_deploy.backends import registry

    monkeypatch.setattr(
        registry, "find_spec", lambda name: None if name == "openvino" else find_spec(name)
    )
    with pytest.raises(MissingExtra, match="openvino"):
        rows(bundle, engines=["openvino"])
    _, absent = rows(bundle)
    assert any(part.engine == "openvino" and "pip install" in part.reason for part in absent)


def test_a_row_that_cannot_run_says_why(two):
    pytest.importorskip("openvino")
    report = check_parity(
        two, against=["onnxruntime", "openvino"], precisions=["fp32", "bf16"], repeats=False
    )
    assert [(row.engine, row.precision, row.passed) for row in summarise(report)] == [
        ("onnxruntime", "fp32", True), ("openvino", "fp32", True), ("openvino", "bf16", False),
    ]  # fmt: skip
    (missing,) = [part for part in missing_rows(report.not_run) if part.device == "cpu"]
    assert (missing.engine, missing.precisions) == ("onnxruntime", ("bf16",))
    assert "no kernels of bfloat16" in str(missing)
    # All sums of raw channels in eight bits of mantissa: not what the gate allows.
    assert not report.passed


@pytest.mark.parametrize("against", [["onnxruntime"], ["cpp", "onnxruntime"]])
def test_an_engine_that_is_named_and_can_run_nothing_is_an_error(two, against):
    with pytest.raises(XecError, match=r"bfloat16|cannot make one"):
        check_parity(two, against=against, precisions=["bf16"], repeats=False)


def test_an_engine_that_fails_on_events_is_no_pass(bundle, monkeypatch):
    original = parity_run.run_events

    def failing(run, events, tell, *batch):
        if run.__self__.__class__.__name__ == "Model":
            raise RuntimeError("no memory\nleft")
        return original(run, events, tell, *batch)

    monkeypatch.setattr(parity_run, "run_events", failing)
    report = check_parity(bundle, against=["onnxruntime", "cpp"], repeats=False)
    assert all(part.passed for part in report.comparisons)
    assert not report.passed
    (broken,) = [part for part in report.not_run if part.failed]
    assert (broken.engine, broken.reason) == ("cpp", "it failed (no memory left)")


def test_each_row_has_one_line(two):
    report = check_parity(two, against=["onnxruntime"], repeats=False)
    lines = summarise(report)
    assert [(line.engine, line.precision, line.gate) for line in lines] == [
        ("onnxruntime", "fp32", 0.001), ("onnxruntime", "fp16", 0.02),
    ]  # fmt: skip
    for line in lines:
        spreads = [part.relative_spread for part in line.comparisons]
        assert line.spread.relative_spread == max(spreads)
        assert np.isclose(
            line.maximum.maximum / line.maximum.resolution,
            max(part.maximum / part.resolution for part in line.comparisons),
        )
        assert line.repeat("batch") is None
