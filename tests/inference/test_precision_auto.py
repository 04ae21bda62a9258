"""``--precision auto``: stated in the results, kept by reruns, never what is not proven."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import uproot

import xec_deploy.inference.spool
from xec_deploy import infer, open_bundle
from xec_deploy.backends import tuning
from xec_deploy.bundle import add_graph
from xec_deploy.bundle.proofs import PROOFS_FILE
from xec_deploy.errors import CheckFailed, Interrupted
from xec_deploy.inference.provenance import read_provenance
from xec_deploy.parity import judge, load_gates, measure_parity
from xec_deploy.parity.record import record_parity

PROGRAM = Path(sys.executable).parent / "xec-deploy"
OPTIONS = {"backend": "onnxruntime", "batch": 4, "sessions": 1, "threads": 1}


@pytest.fixture(scope="module")
def measured(bundle, events_file, tmp_path_factory):
    """A bundle with a second graph, and its parity on the events."""
    folder = shutil.copytree(bundle.path, tmp_path_factory.mktemp("two") / "two.xec")
    two = add_graph(open_bundle(folder), "fp16", bundle.graph())
    found = measure_parity(two, data=[str(events_file)], events=64, against=["onnxruntime"])
    return two, found


@pytest.fixture
def two(measured, tmp_path):
    """The bundle without a record, and a function that writes it."""
    original, measurement = measured
    own = open_bundle(shutil.copytree(original.path, tmp_path / "two.xec"))

    def record():
        record_parity(own, measurement, judge(measurement, load_gates()))

    return own, record


@pytest.fixture(autouse=True)
def fast_fp16(monkeypatch, tmp_path):
    """Rates that no machine disturbs, and no record of other tests."""
    rates = {"fp32": 100.0, "fp16": 200.0}
    monkeypatch.setenv("XEC_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(
        tuning, "events_per_second", lambda backend, *_: rates[backend.options.precision]
    )
    monkeypatch.setattr(xec_deploy.inference.spool, "SEGMENT_SECONDS", 0.0)
    return rates


def values(path):
    with uproot.open({path: "xec"}) as tree:
        return {branch.name: branch.array(library="np").tobytes() for branch in tree.branches}


def test_it_is_what_was_recorded_and_the_results_say_so(two, events_file, tmp_path):
    bundle, record = two
    first = infer(bundle, events_file, tmp_path / "a.root", precision="auto", **OPTIONS)
    assert first.engine["precision"] == "fp32"
    record()
    second = infer(bundle, events_file, tmp_path / "b.root", precision="auto", **OPTIONS)
    assert second.engine["precision"] == "fp16"
    stated = read_provenance(tmp_path / "b.root")
    assert stated["precision"] == "fp16"
    considered = {one["precision"]: one for one in stated["choice"]["considered"]}
    assert considered["fp16"]["events_per_s"] == 200.0
    assert considered["fp16"]["verdict"].startswith("parity of 64 events")
    # The same command with the precision named keeps these results.
    again = infer(bundle, events_file, tmp_path / "b.root", precision="fp16", **OPTIONS)
    assert [file.outcome for file in again.files] == ["skipped"]
    infer(bundle, events_file, tmp_path / "c.root", precision="fp16", **OPTIONS)
    assert values(tmp_path / "b.root") == values(tmp_path / "c.root")
    assert read_provenance(tmp_path / "c.root")["choice"] is None


def test_what_was_begun_goes_on_in_its_precision(two, events_file, tmp_path):
    bundle, record = two
    out = tmp_path / "out.root"
    interrupted(bundle, events_file, out)
    record()
    summary = infer(bundle, events_file, out, precision="auto", **OPTIONS)
    (file,) = summary.files
    assert summary.engine["precision"] == "fp32"
    assert file.resumed > 0
    infer(bundle, events_file, tmp_path / "whole.root", precision="fp32", **OPTIONS)
    assert values(out) == values(tmp_path / "whole.root")


def test_files_of_one_command_have_one_precision(two, events_file, tmp_path):
    bundle, record = two
    more = shutil.copy(events_file, tmp_path / "more.root")
    results = tmp_path / "results"
    infer(bundle, [events_file], results / "", precision="auto", **OPTIONS)
    record()
    both = infer(bundle, [events_file, more], results / "", precision="auto", **OPTIONS)
    assert [file.outcome for file in both.files] == ["skipped", "done"]
    assert both.engine["precision"] == "fp32"
    forced = infer(
        bundle, [events_file, more], results / "", precision="auto", force=True, **OPTIONS
    )
    assert forced.engine["precision"] == "fp16"


def test_a_precision_that_is_no_longer_proven_is_not_gone_on_with(two, events_file, tmp_path):
    bundle, record = two
    out = tmp_path / "out.root"
    record()
    interrupted(bundle, events_file, out)
    (bundle.path / PROOFS_FILE).unlink()
    with pytest.raises(CheckFailed, match="in fp16, in which results were begun"):
        infer(bundle, events_file, out, precision="auto", **OPTIONS)
    # Named, it is the user's responsibility.
    summary = infer(bundle, events_file, out, precision="fp16", **OPTIONS)
    assert summary.files[0].resumed > 0


def interrupted(bundle, events_file, out):
    """Stop a run after some batches."""
    import os
    import signal

    count = iter(range(100))

    def stop(_):
        if next(count) == 5:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Interrupted):
        infer(bundle, events_file, out, precision="auto", progress=stop, **OPTIONS)


def test_the_command_says_what_was_taken_and_why(two, events_file, tmp_path):
    bundle, record = two
    record()
    options = [x for key, value in OPTIONS.items() for x in (f"--{key}", str(value))]
    done = subprocess.run(
        [PROGRAM, "infer", bundle.path, events_file, "-o", tmp_path / "o.root", *options,
         "--precision", "auto"],
        capture_output=True, text=True, timeout=300, check=True,
    )  # fmt: skip
    assert "precision left open: onnxruntime on cpu in " in done.stdout
    assert "fp16 could be taken" in done.stdout
    assert "parity of 64 events" in done.stdout
    assert json.dumps(read_provenance(tmp_path / "o.root")["choice"])
