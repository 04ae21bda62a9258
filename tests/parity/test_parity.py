"""Parity as a user asks for it: real engines, real files, verdicts and refusals."""

import json
import shutil
from dataclasses import replace

import numpy as np
import onnx
import pytest

from xec_deploy.bundle import write_bundle
from xec_deploy.bundle.onnx_file import load_onnx
from xec_deploy.cpp import Model
from xec_deploy.errors import BundleError, CheckFailed, InputError, UsageError
from xec_deploy.parity import check_parity
from xec_deploy.parity.engines import default_engines
from xec_deploy.parity.events import golden_events, read_events
from xec_deploy.parity.preprocessing import compare_preprocessing
from xec_deploy.parity.reference import graph_reference


@pytest.fixture(scope="module")
def report(bundle, events):
    return check_parity(bundle, data=[str(events)], events=6)


def quantities(manifest):
    """Names and units of everything a model gives."""
    return {
        output.name + suffix: output.unit
        for task in manifest.tasks.values()
        for suffix in (("", "_sigma") if task.has_sigma else ("",))
        for output in task.outputs
    }


def test_every_engine_passes_on_golden_and_other_events(report, bundle):
    assert report.passed
    found = {(part.engine, part.event_set, part.precision) for part in report.comparisons}
    assert found == {
        (engine, events, precision)
        for engine in default_engines(None)
        for events in ("golden", "data")
        for precision in bundle.manifest.graphs
    }
    golden, data = report.event_sets
    assert golden.reference == "torch in float64"
    assert data.events == 6
    assert data.reference_error < 1e-5


def test_every_quantity_is_measured_in_its_unit(report, bundle):
    parts = [part for part in report.comparisons if part.event_set == "data"]
    assert {part.quantity: part.unit for part in parts} == quantities(bundle.manifest)
    for part in parts:
        assert part.events == 6
        assert part.maximum > 0
        assert len(part.worst) == 3
        assert part.worst[0].source.endswith("events.root")
        assert part.worst[0].run is not None


def test_preprocessing_is_bit_exact(report):
    assert [part.inputs for part in report.preprocessing] == [
        "random bit patterns", "special values", "golden events", "data events",
    ]  # fmt: skip
    assert all(part.different == 0 and part.values > 0 for part in report.preprocessing)


def test_other_bits_are_found_and_placed(bundle, monkeypatch):
    from xec_deploy import cpp

    original = cpp.normalise

    def one_bit_off(*arguments):
        result = original(*arguments)
        result[-1, 17, 1] = np.nextafter(result[-1, 17, 1], np.float32(9))
        return result

    monkeypatch.setattr(cpp, "normalise", one_bit_off)
    sets = {"golden": golden_events(bundle.golden)}
    parts = compare_preprocessing(bundle.manifest.normalisation, sets, allowed=0)
    assert [part.different for part in parts] == [1, 1, 1]
    assert parts[2].first == (len(bundle.golden) - 1, 17, 1)
    assert not any(part.passed for part in parts)


def test_a_biased_engine_fails_and_is_shown(shifted):
    report = check_parity(shifted, against=["cpp"], repeats=False)
    failed = {part.quantity for part in report.comparisons if not part.passed}
    assert failed == {"w"}
    (part,) = (p for p in report.comparisons if p.quantity == "w" and p.engine == "cpp")
    assert part.relative_bias == pytest.approx(-0.5, abs=0.01)
    assert not report.passed


def test_the_report_is_json(report):
    record = json.loads(json.dumps(report.to_dict()))
    assert record["passed"] is True
    assert record["gates_version"] == report.gates_version
    assert record["bundle"]["fp32_sha256"]
    first = record["comparisons"][0]
    assert first["passed"] is True
    assert first["relative_spread"] == pytest.approx(first["spread"] / first["resolution"])


def test_only_the_engines_asked_for(bundle):
    report = check_parity(bundle, against=["onnxruntime", "onnxruntime"], repeats=False)
    assert {part.engine for part in report.comparisons} == {"onnxruntime"}
    names = [part.quantity for part in report.comparisons]
    assert names == list(quantities(bundle.manifest)) * len(bundle.manifest.graphs)
    assert report.preprocessing == ()


def test_a_lone_file_needs_events(bundle, events):
    with pytest.raises(UsageError, match="no golden events"):
        check_parity(bundle.graph())
    report = check_parity(
        bundle.graph(), data=[str(events)], events=2, against=["cpp"], repeats=False
    )
    assert report.passed
    assert report.event_sets[0].reference_error is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"against": ["onnxruntme"]}, "Did you mean 'onnxruntime'"),
        ({"events": 0}, "--events 1"),
    ],
)
def test_wrong_options_are_a_sentence(bundle, options, message):
    with pytest.raises(UsageError, match=message):
        check_parity(bundle, **options)


def test_events_are_taken_evenly_and_keep_their_place(events, tmp_path):
    again = shutil.copy(events, tmp_path / "again.root")
    chosen = read_events([str(events), str(again)], 6)
    assert len(chosen) == 6
    assert [label.entry for label in chosen.labels] == [0, 1, 2, 0, 1, 2]
    assert chosen.npho.shape == chosen.dead.shape == (6, 4760)
    with pytest.raises(InputError):
        read_events(["absent.root"], 6)


def test_a_file_without_events_is_no_pass(bundle, reference_root):
    with pytest.raises(InputError, match="no readable event"):
        check_parity(bundle, data=[str(reference_root / "no_events.root")])


def test_a_reference_that_misses_the_golden_events_is_refused(shifted):
    with pytest.raises(CheckFailed, match="is no reference"):
        graph_reference(shifted)


def test_a_graph_with_a_subgraph_has_no_reference(bundle, tmp_path):
    model = load_onnx(bundle.graph())
    branch = onnx.helper.make_graph([], "branch", [], [])
    node = onnx.helper.make_node("If", ["x"], ["y"], then_branch=branch, else_branch=branch)
    model.graph.node.append(node)
    path = tmp_path / "odd.onnx"
    onnx.save(model, path)
    with pytest.raises(BundleError, match="subgraph"):
        graph_reference(type(bundle)(path, bundle.manifest, None))


def test_the_cpp_side_is_measured_even_where_it_would_refuse_the_bundle(shifted):
    with pytest.raises(CheckFailed):
        Model(shifted.path)
    assert check_parity(shifted, against=["cpp"], repeats=False).comparisons


def test_all_precisions_are_compared_with_their_gates(bundle, tmp_path):
    graphs = {}
    for precision in ("fp32", "fp16"):
        graphs[precision] = tmp_path / f"{precision}.onnx"
        graphs[precision].write_bytes(bundle.graph().read_bytes())
    two = write_bundle(
        tmp_path / "two.xec", bundle.manifest.without_hashes(), graphs, bundle.golden
    )
    report = check_parity(two, against=["cpp"], repeats=False)
    assert {(part.precision, part.gate) for part in report.comparisons} == {
        ("fp32", 0.001), ("fp16", 0.02),
    }  # fmt: skip


def test_nothing_compared_is_no_pass(report):
    assert not replace(report, comparisons=()).passed
