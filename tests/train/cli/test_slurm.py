"""The job script: correct shell, checked options, and back to the queue before the limit."""

import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from xec_deploy.cluster.slurm_job import machine_of
from xec_deploy.errors import UsageError
from xec_train.cli.job_script import JobScript
from xec_train.cli.main import COMMANDS, cli
from xec_train.cli.train import inpainter, mae, regressor
from xec_train.training import CheckpointFiles

BASH = shutil.which("bash")
SHELLCHECK = shutil.which("shellcheck", path=Path(sys.executable).parent) or shutil.which(
    "shellcheck"
)
FILES = ["--train-path", "data/train_*.root", "--val-path", "data/val.root"]
HERE = f"{'a100' if platform.machine() == 'x86_64' else 'gh'}-daily"


def slurm(*arguments):
    """Text of the script."""
    return CliRunner().invoke(cli, ["slurm", *arguments], catch_exceptions=False).stdout


SCRIPTS = {
    "one GPU": ["regressor", "--config", "regressor_512", *FILES, "--partition", HERE],
    "two nodes": [
        *("regressor", "--config", "regressor_1024", *FILES, "--partition", "a100-daily"),
        *("--nodes", "2", "--gpus-per-node", "4", "--account", "meg", "--mem", "128G"),
        *("--environment", "envs/x86 64", "--setup", "module load cuda", "--time", "12:00:00"),
        *("--run_name", "Michel's run", "--set", "tasks.energy.weight=2.0", "--lr", "1e-4"),
    ],
    "Grace Hopper": [
        *("regressor", "--config", "regressor_256", "--partition", "gh-hourly"),
        *("--environment", "/envs/aarch64", "--cluster", "gmerlin7"),
    ],
    "unknown partition": ["regressor", "--config", "regressor_256", "--partition", "gpu"],
}


@pytest.mark.parametrize("arguments", SCRIPTS.values(), ids=SCRIPTS)
def test_script_is_correct_shell(arguments):
    script = slurm(*arguments)
    subprocess.run([BASH, "-n"], input=script, text=True, check=True)
    if SHELLCHECK is None:
        pytest.skip("shellcheck is not installed")
    result = subprocess.run(
        [SHELLCHECK, "-"], input=script, text=True, check=False, capture_output=True
    )
    assert result.returncode == 0, result.stdout


def directives(script):
    return dict(re.findall(r"^#SBATCH --([a-z-]+)=?(.*)$", script, re.MULTILINE))


def test_several_nodes():
    script = slurm(*SCRIPTS["two nodes"])
    stated = directives(script)
    assert stated["nodes"] == "2"
    assert stated["ntasks-per-node"] == "1"
    assert stated["gpus-per-node"] == "4"
    # Four loader processes and one that trains, for each GPU.
    assert stated["cpus-per-task"] == "20"
    assert stated["job-name"] == '"Michel\'s run"'
    assert stated["time"] == "12:00:00"
    assert stated["signal"] == "B:TERM@120"
    assert stated["chdir"] == str(Path.cwd())
    assert "requeue" in stated
    assert "--nnodes=2 --nproc-per-node=4 --rdzv-backend=c10d" in script
    assert "--num-gpus=4 --num-nodes=2" in script
    assert "module load cuda" in script
    assert "'runs/regressor_1024/Michel'\"'\"'s run/checkpoint_last.pth'" in script


def test_one_node_and_limits_by_partition():
    script = slurm(*SCRIPTS["one GPU"])
    assert "--standalone --nproc-per-node=1" in script
    assert "scontrol show" not in script
    assert directives(script)["time"] == "1-00:00:00"
    assert directives(slurm(*SCRIPTS["Grace Hopper"]))["time"] == "01:00:00"
    assert "time" not in directives(slurm(*SCRIPTS["unknown partition"]))


def test_processors_of_partitions():
    assert machine_of("gh-daily") == machine_of("gh-hourly,gh-daily") == "aarch64"
    assert machine_of("a100-general") == "x86_64"
    assert machine_of("gpu") is None
    assert "uname -m) != aarch64" in slurm(*SCRIPTS["Grace Hopper"])
    other = "gh-daily" if platform.machine() == "x86_64" else "a100-daily"
    with pytest.raises(UsageError, match="Name one made on such a node with --environment"):
        slurm("regressor", "--config", "regressor_256", "--partition", other)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["regresor", "--config", "regressor_256"], "Did you mean 'regressor'"),
        (["regressor", "--config", "regressor_256", "--set", "a=1"], "unknown key 'a'"),
        (["regressor", "--config", "nowhere.yaml"], "cannot read the configuration"),
        (["regressor", "--config", "regressor_256", "--num_gpus", "2"], "--gpus-per-node"),
        (["regressor", "--config", "regressor_256", "--refresh-lr"], "--resume-from"),
        (["regressor", "--config", "regressor_256", "--account", "a\nrm -r"], "line break"),
        (["regressor", "--config", "regressor_256", "--log", "nowhere/%j.log"], "no such folder"),
    ],
)
def test_mistakes_are_found_before_the_job_waits_in_the_queue(arguments, message):
    with pytest.raises(UsageError) as caught:
        slurm(*arguments, "--partition", HERE)
    assert message in str(caught.value)


def test_script_in_a_file(tmp_path):
    path = tmp_path / "job.sh"
    result = slurm(*SCRIPTS["one GPU"], "-o", str(path))
    assert f"sbatch {path}" in result
    assert path.read_text() == slurm(*SCRIPTS["one GPU"])


def test_last_checkpoint_is_the_one_the_trainer_writes():
    for command, prefix in ((regressor, ""), (mae, "mae_"), (inpainter, "inpainter_")):
        assert CheckpointFiles(Path(), prefix).last.name == command.last_checkpoint


@pytest.fixture
def cluster(tmp_path):
    """A folder and the commands the script calls, each a few lines of shell.

    ``torchrun`` notes its arguments, then runs until it gets TERM, when it writes the checkpoint.
    """
    programs = tmp_path / "env" / "bin"
    programs.mkdir(parents=True)
    for name, lines in {
        "srun": 'while [[ $1 == --* ]]; do shift; done\nexec "$@"',
        "scontrol": f'echo "$@" >> {tmp_path}/scontrol.log',
        "torchrun": f'echo "$@" >> {tmp_path}/torchrun.log\n'
        f"trap 'echo saved > {tmp_path}/last.pth; kill $!; exit 3' TERM\n"
        f"touch {tmp_path}/started\nsleep ${{SECONDS_TO_TRAIN:-60}} &\nwait $!",
    }.items():
        program = programs / name
        program.write_text(f"#!/bin/bash\n{lines}\n")
        program.chmod(0o755)
    script = JobScript(
        name="test",
        command=("regressor", "--config", "c.yaml", "--run_name", "a b"),
        last=str(tmp_path / "last.pth"),
        folder=str(tmp_path),
        environment=str(tmp_path / "env"),
        partition="gpu",
        log="test.log",
    ).text()
    (tmp_path / "job.sh").write_text(script)
    return tmp_path


def submit(cluster, **environment):
    return subprocess.Popen(
        [BASH, cluster / "job.sh"],
        env={**os.environ, "SLURM_JOB_ID": "4711", **environment},
        stdout=subprocess.PIPE,
        text=True,
    )


def wait_until(condition):
    while not condition():
        time.sleep(0.01)


def test_job_goes_back_to_the_queue_and_continues(cluster):
    job = submit(cluster)
    wait_until((cluster / "started").exists)
    job.send_signal(signal.SIGTERM)
    output, _ = job.communicate(timeout=60)
    assert job.returncode == 0
    assert "back to the queue" in output
    assert (cluster / "last.pth").read_text() == "saved\n"
    assert (cluster / "scontrol.log").read_text() == "requeue 4711\n"
    again = submit(cluster, SECONDS_TO_TRAIN="0")
    output, _ = again.communicate(timeout=60)
    assert again.returncode == 0
    assert "continuing from" in output
    first, second = (cluster / "torchrun.log").read_text().splitlines()
    command = "-m xec_train regressor --config c.yaml --run_name a b --num-gpus=1 --num-nodes=1"
    assert first == f"--standalone --nproc-per-node=1 {command}"
    assert second == (
        f"{first} --resume-from {cluster}/last.pth "
        "--no-reset-epoch --no-refresh-lr --no-new-mlflow-run"
    )
    assert (cluster / "scontrol.log").read_text() == "requeue 4711\n"


def test_failed_training_fails_the_job(cluster):
    job = submit(cluster, SECONDS_TO_TRAIN="not-a-number")
    job.communicate(timeout=60)
    assert job.returncode != 0
    assert not (cluster / "scontrol.log").exists()


def test_only_models_that_can_be_trained_are_offered():
    assert ".cli.train:" in COMMANDS["regressor"][0]
    with pytest.raises(UsageError, match="no model 'simulate' to train"):
        slurm("simulate", "--partition", HERE)
