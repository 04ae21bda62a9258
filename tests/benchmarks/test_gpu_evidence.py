"""The program that measures on a GPU, on the processor: stages, failures, time, figures."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture(scope="module", autouse=True)
def beside_the_programs():
    sys.path.insert(0, str(BENCHMARKS))
    yield
    sys.path.remove(str(BENCHMARKS))


def test_the_program_measures_and_goes_on_where_it_stopped(tmp_path):
    pytest.importorskip("torch")
    report = tmp_path / "evidence.json"
    stages = "versions,prepare,onnxruntime-fp32"
    command = [
        sys.executable, BENCHMARKS / "gpu_evidence.py", "--device", "cpu", "--network", "shipped",
        "--events", "24", "--batches", "8", "--folder", tmp_path / "work", "--json", report,
        "--stages", stages,
    ]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True)
    found = json.loads(report.read_text(encoding="utf-8"))
    states = {name: stage["state"] for name, stage in found["stages"].items()}
    assert states == dict.fromkeys(stages.split(","), "done")
    assert found["stages"]["prepare"]["golden_sigma"] < 1e-4
    assert found["stages"]["prepare"]["graphs"] == ["fp32"]
    (row,) = found["table"]
    assert (row["engine"], row["precision"], row["passes"]) == ("onnxruntime", "fp32", True)
    assert row["device_events_per_s"] > 0 < row["end_to_end_events_per_s"]
    assert found["installed"]["torch"]
    assert found["device"]["device"] == "cpu"
    assert str(tmp_path) not in report.read_text(encoding="utf-8")
    # The same command goes on where it stopped: nothing that is done is done again.
    before = (tmp_path / "work" / "stages" / "prepare.json").stat().st_mtime_ns
    again = [*command[:-1], "versions,prepare"]
    subprocess.run(again, check=True, capture_output=True)
    assert (tmp_path / "work" / "stages" / "prepare.json").stat().st_mtime_ns == before


def test_a_crash_a_refusal_and_a_hang_are_results(tmp_path):
    from gpu_running import Findings, Stage, read_stage, run_stages

    programs = {
        "good": "print('well')",
        "crash": "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)",
        "refusal": "import sys; sys.exit('there is no SM90')",
        "hang": "import time; time.sleep(60)",
        "after": "print('well')",
    }

    def command(name, findings):
        if name == "hang":
            Findings(findings).add(first="figure")
        return [sys.executable, "-c", programs[name]]

    told = []
    stages = [
        Stage("good", 20), Stage("crash", 20), Stage("refusal", 20), Stage("hang", 1),
        Stage("dependent", 20, ("crash",)), Stage("after", 20, ("good",)),
    ]  # fmt: skip
    outcomes = run_stages(stages, tmp_path, command, budget=60, say=told.append)
    assert {name: outcome["state"] for name, outcome in outcomes.items()} == {
        "good": "done", "crash": "failed", "refusal": "failed", "hang": "timed out",
        "dependent": "not run", "after": "done",
    }  # fmt: skip
    assert "signal 11" in outcomes["crash"]["reason"]
    assert outcomes["refusal"]["reason"] == "exit code 1: there is no SM90"
    assert outcomes["hang"]["first"] == "figure"
    assert read_stage(tmp_path, "hang") == {"first": "figure"}
    assert outcomes["dependent"]["reason"] == "needs crash"
    assert len(told) == 6
    late = run_stages([*stages, Stage("late", 20)], tmp_path, command, budget=0, say=told.append)
    assert late["good"]["state"] == "done"
    assert late["late"]["reason"] == "the time was used up"
    # What succeeded earlier need not be asked for again, and is not forgotten.
    one = run_stages([stages[-1]], tmp_path, command, budget=60, say=told.append)
    assert (one["after"]["state"], one["good"]["state"]) == ("done", "done")


def test_rows_say_share_and_times_of_eager():
    pytest.importorskip("torch")
    from gpu_evidence import table

    outcomes = {
        "prepare": {"mflop": 1000.0},
        "ceilings": {"products": {"fp32": 50.0, "bf16": 500.0, "int8": "not measured: no"}},
        "eager-fp32": {"device_events_per_s": {"64": 900.0, "256": 1000.0},
                       "end_to_end_events_per_s": 500.0},
        "torch-bf16": {
            "settings": {"batch 256": {"device_events_per_s": 50000.0,
                                       "requests_events_per_s": 20000.0}},
            "end_to_end_events_per_s": 2000.0, "parity": {"sigma": 0.01, "passes": True},
        },
        "rtx-int8": {"state": "failed", "reason": "no SM90"},
    }  # fmt: skip
    eager, compiled = table(outcomes)
    assert eager["share_of_ceiling"] == 0.02
    assert eager["times_eager_fp32_on_device"] == 1.0
    assert compiled["share_of_ceiling"] == 0.1
    assert compiled["times_eager_fp32_on_device"] == 50.0
    assert compiled["times_eager_fp32_end_to_end"] == 4.0
    assert (compiled["sigma"], compiled["passes"]) == (0.01, True)


def test_parity_is_in_resolutions_and_nan_does_not_pass():
    pytest.importorskip("torch")
    from gpu_measure import parity

    from xec_deploy.bundle import open_bundle, shipped_bundle

    bundle = open_bundle(shipped_bundle())
    expected = bundle.golden.outputs
    exact = {name: values.astype(np.float32) for name, values in expected.items()}
    assert parity(bundle.manifest, "fp32", expected, exact)["passes"]
    # The resolution of timing is 65 ps.
    off = {**exact, "timing": exact["timing"] + np.float32(0.0065)}
    found = parity(bundle.manifest, "fp32", expected, off)
    assert found["outputs"]["timing"]["bias"] == pytest.approx(0.1, rel=1e-2)
    assert not found["passes"]
    broken = {**exact, "timing": exact["timing"] * np.nan}
    found = parity(bundle.manifest, "int8", expected, broken)
    assert (found["passes"], found["sigma"]) == (False, None)
