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


def launch(folder, options, *, torchrun=False, code=0):
    command = [sys.executable, str(SCRIPT), str(folder), json.dumps(options)]
    if torchrun:
        command[1:1] = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    finished = subprocess.run(
        command,
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
        timeout=600,
    )
    assert finished.returncode == code, finished.stderr
    return [json.loads(path.read_text()) for path in sorted(folder.glob("rank_*.json"))]


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    options = {"distributed": {}, "training": ACCUMULATED}
    (record,) = launch(tmp_path_factory.mktemp("one"), options)
    return record


@pytest.mark.parametrize("torchrun", [False, True], ids=["lightning", "torchrun"])
def test_two_processes_are_one_with_the_same_global_batch(one, tmp_path, torchrun):
    two = launch(tmp_path, {"distributed": TWO, "training": ACCUMULATED}, torchrun=torchrun)
    assert (one["world"], [record["world"] for record in two]) == (1, [2, 2])
    assert one["steps"] == two[0]["steps"] == 6
    mean = (torch.tensor(two[0]["losses"]) + torch.tensor(two[1]["losses"])) / 2
    torch.testing.assert_close(mean, torch.tensor(one["losses"]), rtol=1e-5, atol=1e-6)
    for mine, first, second in zip(one["weights"], *(r["weights"] for r in two), strict=True):
        assert first == second
        torch.testing.assert_close(torch.tensor(first), torch.tensor(mine), rtol=1e-4, atol=1e-6)


def test_a_loss_of_one_process_that_is_not_finite_is_skipped_by_both(tmp_path):
    two = launch(tmp_path, {"distributed": TWO, "spoil": 3})
    assert two[0]["weights"] == two[1]["weights"]
    assert torch.isfinite(torch.tensor(two[0]["weights"][0])).all()
    with (tmp_path / "metrics.csv").open() as stream:
        rows = [row for row in csv.DictReader(stream) if row["train_loss"]]
    assert [float(row["skipped_steps"]) for row in rows] == [1.0, 1.0]


def test_a_signal_to_one_process_stops_both_and_they_resume_bit_for_bit(tmp_path):
    options = {"distributed": TWO, "dropout": 0.3}
    whole = launch(tmp_path / "whole", options)
    assert whole[0]["losses"] != whole[1]["losses"]
    parts = tmp_path / "parts"
    assert launch(parts, {**options, "stop": 5}, code=ExitCode.PARTIAL) == []
    resume = {"resume_from": str(parts / "checkpoint_last.pth")}
    resumed = launch(parts, {**options, "checkpoint": resume})
    for mine, theirs in zip(resumed, whole, strict=True):
        assert mine["weights"] == theirs["weights"]
        assert mine["losses"] == theirs["losses"][5:]
