"""Two processes on the CPU are one process with the same global batch."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from xec_deploy.errors import ExitCode

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).parent / "ddp_script.py"
TWO = {"devices": 2, "strategy": "ddp"}
ACCUMULATED = {"grad_accum_steps": 3}
TIMEOUT_S = 1500
"""Far more than it takes; a process that waits for another for ever fails the test."""


def launch(folder, trainings, launcher=()):
    """Run trainings one after another, each in its folder."""
    folder.mkdir(parents=True, exist_ok=True)
    listed = [{**options, "save_dir": str(folder / name)} for name, options in trainings]
    (folder / "trainings.json").write_text(json.dumps(listed))
    finished = subprocess.run(
        [sys.executable, *launcher, str(SCRIPT), str(folder / "trainings.json")],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
        timeout=TIMEOUT_S,
    )
    assert finished.returncode == 0, finished.stderr


def records(folder):
    return [json.loads(path.read_text()) for path in sorted(folder.glob("rank_*.json"))]


@pytest.fixture(scope="module")
def forked(tmp_path_factory):
    """Trainings in one and in two processes, by name of the folder."""
    folder = tmp_path_factory.mktemp("forked")
    two = {"distributed": TWO, "fork": 2}
    dropout = {**two, "dropout": 0.3}
    resume = {"resume_from": str(folder / "parts" / "checkpoint_last.pth")}
    trainings = [
        ("one", {"distributed": {}, "fork": 1}),
        ("one accumulated", {"distributed": {}, "fork": 1, "training": ACCUMULATED}),
        ("two accumulated", {**two, "training": ACCUMULATED}),
        ("spoilt", {**two, "spoil": 3}),
        ("whole", dropout),
        ("parts", {**dropout, "stop": 5, "code": ExitCode.PARTIAL}),
        ("parts", {**dropout, "checkpoint": resume}),
    ]
    launch(folder, trainings)
    return folder


def assert_same_training(one, two):
    assert (one["world"], [record["world"] for record in two]) == (1, [2, 2])
    assert one["steps"] == two[0]["steps"] == two[1]["steps"]
    mean = (torch.tensor(two[0]["losses"]) + torch.tensor(two[1]["losses"])) / 2
    torch.testing.assert_close(mean, torch.tensor(one["losses"]), rtol=1e-5, atol=1e-6)
    for mine, first, second in zip(one["weights"], *(r["weights"] for r in two), strict=True):
        assert first == second
        torch.testing.assert_close(torch.tensor(first), torch.tensor(mine), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "launcher",
    [(), ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2")],
    ids=["lightning", "torchrun"],
)
def test_two_launched_processes_are_one_with_the_same_global_batch(forked, tmp_path, launcher):
    launch(tmp_path, [("two", {"distributed": TWO})], launcher)
    (one,) = records(forked / "one")
    assert_same_training(one, records(tmp_path / "two"))


def test_and_so_they_are_with_accumulated_gradients(forked):
    (one,) = records(forked / "one accumulated")
    assert one["steps"] == 6
    assert_same_training(one, records(forked / "two accumulated"))


def test_a_loss_of_one_process_that_is_not_finite_is_skipped_by_both(forked):
    two = records(forked / "spoilt")
    assert two[0]["weights"] == two[1]["weights"]
    assert all(torch.isfinite(torch.tensor(weight)).all() for weight in two[0]["weights"])
    with (forked / "spoilt" / "metrics.csv").open() as stream:
        rows = [row for row in csv.DictReader(stream) if row["train_loss"]]
    assert [float(row["skipped_steps"]) for row in rows] == [1.0, 1.0]


def test_a_signal_to_one_process_stops_both_and_they_resume_bit_for_bit(forked):
    whole, resumed = records(forked / "whole"), records(forked / "parts")
    assert whole[0]["losses"] != whole[1]["losses"]
    for mine, theirs in zip(resumed, whole, strict=True):
        assert mine["weights"] == theirs["weights"]
        assert mine["losses"] == theirs["losses"][5:]
