"""What parity found, kept in the bundle."""

import json
import shutil
from dataclasses import replace

import pytest

from xec_deploy import open_bundle
from xec_deploy.bundle.proofs import PROOFS_FILE, read_proofs, record_proofs
from xec_deploy.errors import BundleError, OutputError, UsageError
from xec_deploy.gates import load_gates
from xec_deploy.parity import judge, measure_parity
from xec_deploy.parity.record import record_parity


@pytest.fixture(scope="module")
def measured(bundle, events):
    measurement = measure_parity(
        bundle, data=[str(events)], events=4, against=["onnxruntime", "cpp"]
    )
    return measurement, judge(measurement, load_gates())


@pytest.fixture
def own(bundle, tmp_path):
    return open_bundle(shutil.copytree(bundle.path, tmp_path / "own.xec"))


def test_figures_are_kept_and_verdicts_derived(own, measured):
    measurement, report = measured
    before = own.identity
    path = record_parity(own, measurement, report)
    assert path == own.path / PROOFS_FILE
    # Results depend on none of it, so the bundle is the same.
    assert open_bundle(own.path).identity == before
    (proof,) = read_proofs(own.path)
    assert (proof.engine, proof.precision) == ("onnxruntime", "fp32")
    assert proof.graph_sha256 == own.manifest.graphs["fp32"].canonical_sha256
    assert proof.events == 4
    assert proof.measured["files"]["golden.npz"] == own.manifest.golden_sha256
    worst = max(p.relative_spread for p in report.comparisons if p.engine == "onnxruntime")
    assert max(figure.spread for figure in proof.figures) == worst
    assert proof.repeats == max(p.largest for p in report.repeats if p.engine == "onnxruntime")
    gates = load_gates()
    assert proof.failure(gates) is None
    assert "4 measured events, needed are 64" in proof.gap(gates)
    tight = gates.model_copy(update={"precision": {"fp32": 1e-6}})
    assert "parity failed" in proof.failure(tight)
    few = gates.model_copy(update={"auto_events": 4})
    assert proof.gap(few) is None


def test_a_proof_takes_the_place_of_one_of_the_same(own, measured):
    measurement, report = measured
    record_parity(own, measurement, report)
    (row, *_) = measurement.rows
    other = replace(measurement, rows=(replace(row, version="0.1"),))
    record_parity(own, other, report)
    record_parity(own, measurement, report)
    assert sorted(proof.version for proof in read_proofs(own.path)) == ["0.1", row.version]


def test_proofs_of_graphs_that_have_gone_go(own, measured):
    measurement, report = measured
    path = record_parity(own, measurement, report)
    content = json.loads(path.read_text())
    content["proofs"].append({**content["proofs"][0], "graph_sha256": "0" * 64})
    path.write_text(json.dumps(content))
    record_parity(own, measurement, report)
    assert len(read_proofs(own.path)) == 1


def test_without_repetitions_there_is_a_gap(own, measured):
    measurement, report = measured
    record_parity(own, measurement, replace(report, repeats=()))
    (proof,) = read_proofs(own.path)
    assert "other batches" in proof.gap(load_gates())


def test_what_cannot_be_recorded_is_a_sentence(own, bundle, measured):
    measurement, report = measured
    with pytest.raises(UsageError, match="recorded in a bundle"):
        record_parity(open_bundle(bundle.graph()), measurement, report)
    only_cpp = replace(measurement, rows=measurement.rows[1:])
    with pytest.raises(UsageError, match="could choose"):
        record_parity(own, only_cpp, report)
    other = replace(measurement, rows=(replace(measurement.rows[0], graph_sha256="0" * 64),))
    with pytest.raises(UsageError, match="not of this bundle"):
        record_parity(own, other, report)
    (own.path / PROOFS_FILE).write_text("{}")
    with pytest.raises(BundleError, match="damaged"):
        read_proofs(own.path)
    (own.path / PROOFS_FILE).unlink()
    with pytest.raises(OutputError, match="Copy the bundle"):
        record_proofs(own.path / "absent", (), ())
