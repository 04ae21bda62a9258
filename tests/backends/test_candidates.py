"""Which precisions may be taken unasked: by what was recorded, and nothing else."""

import logging
import shutil

import pytest

from xec_deploy.backends import RunOptions, tuning
from xec_deploy.backends.candidates import find_candidates
from xec_deploy.backends.cores import arithmetic_of
from xec_deploy.backends.registry import get_engine
from xec_deploy.backends.tuning import tune
from xec_deploy.bundle import add_graph, open_bundle
from xec_deploy.bundle.proofs import PROOFS_FILE, Figure, Proof, record_proofs
from xec_deploy.errors import BundleError, CheckFailed

ENGINE = "onnxruntime"
pytestmark = pytest.mark.usefixtures("cache")
OPTIONS = RunOptions(batch=4, sessions=1, threads=1)


@pytest.fixture
def two(bundle, tmp_path):
    """The shipped bundle with its graph once more, under the name of fp16."""
    folder = shutil.copytree(bundle.path, tmp_path / "two.xec")
    return add_graph(open_bundle(folder), "fp16", bundle.graph())


@pytest.fixture
def record(two):
    """A function that records a proof, passing unless told otherwise."""

    def write(precision="fp16", spread=0.001, events=64, **other):
        figures = tuple(
            Figure(event_set=name, quantity="u", events=n, one_sided=0, spread=spread, bias=0.0)
            for name, n in (("golden", 32), ("data", events))
        )
        facts = {
            "engine": ENGINE,
            "version": get_engine(ENGINE).version,
            "device": "cpu",
            "arithmetic": arithmetic_of("cpu"),
            "precision": precision,
            "graph_sha256": two.manifest.graphs[precision].canonical_sha256,
            "figures": figures,
            "repeats": 0.0,
        }
        graphs = [entry.canonical_sha256 for entry in two.manifest.graphs.values()]
        record_proofs(two.path, [Proof(**{**facts, **other})], graphs)

    return write


@pytest.fixture
def rates(monkeypatch):
    """Rates by precision in the place of measured ones, which no test can rely on."""
    found = {"fp32": 100.0, "fp16": 200.0}
    monkeypatch.setattr(
        tuning, "events_per_second", lambda backend, *_: found[backend.options.precision]
    )
    return found


def judged(bundle, inpaint=None):
    parts = find_candidates(bundle, ENGINE, "auto", "cpu", inpaint)
    return {part.precision: part for part in parts}


def test_fp32_is_proven_by_golden_events_and_others_by_record_alone(two, record):
    before = judged(two)
    assert before["fp32"].allowed
    assert not before["fp16"].allowed
    assert before["fp16"].verdict == "its parity was not recorded"
    record()
    after = judged(two)
    assert after["fp16"].allowed
    assert after["fp16"].verdict == "parity of 64 events: u 0.001 sigma, the gate is 0.02"


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        ({"spread": 0.021}, "parity failed: spread of u 0.021 sigma, the gate is 0.02"),
        ({"events": 63}, "63 measured events, needed are 64"),
        ({"version": "0.1"}, f"its parity is known for {ENGINE} 0.1"),
        ({"arithmetic": "abacus"}, "on abacus"),
        ({"repeats": 0.03}, "differs from itself by 0.03 sigma"),
        ({"repeats": None}, "not known in other batches"),
        ({"graph_sha256": "0" * 64}, "not recorded"),
        ({"engine": "openvino"}, "not recorded"),
    ],
)
def test_what_was_not_proven_is_left_out_with_the_reason(two, record, facts, reason):
    record(**facts)
    assert not judged(two)["fp16"].allowed
    assert reason in judged(two)["fp16"].verdict


def test_a_recorded_failure_of_fp32_counts(two, record):
    record("fp32", spread=0.002)
    record()
    assert not judged(two)["fp32"].allowed
    assert judged(two)["fp16"].allowed


def test_another_way_to_fill_dead_channels_was_not_compared(two, record):
    record()
    assert judged(two, "none")["fp16"].allowed
    changed = judged(two, "neighbours")
    assert changed["fp32"].allowed
    assert "dead channels" in changed["fp16"].verdict


def test_graphs_for_another_device_are_no_candidates(two, bundle):
    more = add_graph(two, "int8-trt", bundle.graph())
    assert set(judged(more)) == {"fp32", "fp16"}


@pytest.mark.usefixtures("rates")
def test_the_fastest_that_may_be_taken_is(two, record, caplog):
    caplog.set_level(logging.INFO, "xec_deploy")
    assert tune(two, ENGINE, precision="auto", options=OPTIONS).precision == "fp32"
    record()
    chosen = tune(two, ENGINE, precision="auto", options=OPTIONS)
    assert (chosen.precision, chosen.events_per_s) == ("fp16", 200.0)
    assert chosen.others == {f"{ENGINE} fp32": 100.0}
    assert [(one.precision, one.events_per_s) for one in chosen.considered] == [
        ("fp32", 100.0), ("fp16", 200.0),
    ]  # fmt: skip
    assert f"auto: {ENGINE} on cpu in fp16" in caplog.text
    assert two.backend(ENGINE, precision="auto", options=OPTIONS).options.precision == "fp16"


def test_of_two_as_fast_the_more_precise_is_taken(two, record, rates):
    record()
    rates["fp16"] = 101.0
    assert tune(two, ENGINE, precision="auto", options=OPTIONS).precision == "fp32"


def test_all_engines_are_considered_where_none_is_named(two, record, rates):
    pytest.importorskip("openvino")
    rates["bf16"] = 1000.0
    record()
    chosen = tune(two, precision="auto", options=OPTIONS)
    assert (chosen.backend, chosen.precision) == (ENGINE, "fp16")
    left_out = {(one.backend, one.precision) for one in chosen.considered if not one.allowed}
    # The fastest of all, and nobody knows how wrong.
    assert ("openvino", "bf16") in left_out
    assert ("openvino", "fp16") in left_out


def test_nothing_that_may_be_taken_is_an_error(two, record):
    record("fp32", spread=0.002)
    with pytest.raises(CheckFailed, match=r"fp32: its parity failed.*--record"):
        tune(two, ENGINE, precision="auto", options=OPTIONS)
    with pytest.raises(CheckFailed, match="in fp16, in which results were begun"):
        tune(two, ENGINE, precision="auto", options=OPTIONS, within="fp16")


def test_a_damaged_record_is_an_error(two):
    (two.path / PROOFS_FILE).write_text("{")
    with pytest.raises(BundleError, match="damaged"):
        tune(two, ENGINE, precision="auto", options=OPTIONS)


@pytest.mark.usefixtures("rates")
def test_a_lone_file_has_fp32_alone(bundle):
    lone = open_bundle(bundle.graph())
    assert tune(lone, ENGINE, precision="auto", options=OPTIONS).precision == "fp32"
