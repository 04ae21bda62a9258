"""``xec-deploy parity`` as users type it."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from xec_deploy.bundle import shipped_bundle

PROGRAM = Path(sys.executable).parent / "xec-deploy"


def parity(*arguments, check):
    done = subprocess.run(
        [PROGRAM, "parity", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == check, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done


def test_table_on_golden_and_measured_events(events):
    options = ("--data", events, "--events", 2, "--no-repeats")
    shown = parity(shipped_bundle(), *options, check=0).stdout
    assert "reference torch in float64" in shown
    assert "cpp fp32" in shown
    assert "events.root" in shown
    assert "random bit patterns" in shown
    assert shown.strip().endswith("passed")


def test_json_of_one_engine():
    shown = parity(shipped_bundle(), "--against", "cpp", "--no-repeats", "--json", check=0).stdout
    record = json.loads(shown)
    assert {part["engine"] for part in record["comparisons"]} == {"cpp"}
    assert record["passed"]


def test_a_gate_that_is_not_kept_is_exit_4(shifted):
    shown = parity(shifted.path, "--against", "cpp", "--no-repeats", check=4).stdout
    assert "failed" in shown
    assert "golden event" in shown


def test_differences_are_kept_judged_again_recorded_and_drawn(bundle, events, tmp_path):
    own = shutil.copytree(bundle.path, tmp_path / "own.xec")
    stored, page = tmp_path / "parity.npz", tmp_path / "parity.html"
    first = parity(own, "--data", events, "--events", 3, "--against", "onnxruntime",
                   "--store", stored, "--record", check=0)  # fmt: skip
    assert "same bits" in first.stdout
    assert f"recorded in {own / 'parity.json'}" in first.stderr
    shutil.rmtree(own)
    gates = tmp_path / "gates.yaml"
    gates.write_text("version: 99\nprecision: {fp32: 1.0e-6}\n")
    tight = parity("--from", stored, "--gates", gates, check=4).stdout
    assert f"gates version 99 with {gates}: failed" in tight
    pytest.importorskip("matplotlib")
    again = parity("--from", stored, "--page", page, check=0)
    assert again.stdout == first.stdout
    assert page.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "no bundle to compare"),
        (["--from", "absent.npz"], "absent.npz: stored differences cannot be read"),
        (["--from", "any.npz", "--data", "x.root"], "--data asks for something to be run"),
        (["--from", "any.npz", "--record"], "--record needs the bundle"),
        (["--from", "any.npz", shipped_bundle()], "or add --record to write"),
        (["--from", __file__], "it is no .npz file"),
        ([shipped_bundle(), "--precision", "fp61"], "no 'fp61' graph"),
        ([shipped_bundle(), "--gates", "absent.yaml"], "the gates cannot be read"),
        (["absent.xec"], "no such bundle"),
        ([shipped_bundle(), "--against", "tensort"], "no engine 'tensort'"),
        ([shipped_bundle(), "--data", "absent.root"], "absent.root"),
    ],
)
def test_mistakes_are_one_sentence_and_exit_2(arguments, message):
    assert message in parity(*arguments, check=2).stderr


@pytest.mark.parametrize("option", ["--store", "--page"])
def test_nothing_runs_where_results_have_no_place(tmp_path, option):
    target = tmp_path / "absent" / "parity.out"
    told = parity(shipped_bundle(), option, target, check=3).stderr
    assert f"{target.parent}: there is no such folder" in told
