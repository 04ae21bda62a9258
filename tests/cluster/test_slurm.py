"""The job array: correct shell, checked options, each file in one task, back to the queue."""

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
import uproot
from click.testing import CliRunner

from xec_deploy.bundle import shipped_bundle
from xec_deploy.cli.main import cli
from xec_deploy.cluster.array_script import ArrayScript
from xec_deploy.errors import UsageError
from xec_deploy.events import InputFile
from xec_deploy.simulation import SimulationConfig, write_simulation

BASH = shutil.which("bash")
SHELLCHECK = shutil.which("shellcheck", path=Path(sys.executable).parent) or shutil.which(
    "shellcheck"
)
BUNDLE = str(shipped_bundle())
HERE = f"{'a100' if platform.machine() == 'x86_64' else 'gh'}-daily"


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """A run list of 30 files of different sizes; two are not there."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    for number in range(28):
        (tmp_path / "data" / f"run {number}.root").write_bytes(bytes(1000 * (number + 1)))
    lines = [f"{430000 + number} data/run {number}.root" for number in range(30)]
    (tmp_path / "runs.txt").write_text("\n".join(lines))
    return tmp_path


def slurm(*arguments):
    """Standard output of the command."""
    result = CliRunner().invoke(cli, ["slurm", BUNDLE, *arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def directives(script):
    return dict(re.findall(r"^#SBATCH --([a-z-]+)=?(.*)$", script, re.MULTILINE))


def files_of(script):
    """Return {task: [(run, path)]} of the list in the script."""
    listed = script.split("<<'FILES'\n")[1].split("\nFILES\n")[0]
    tasks = {}
    for line in listed.splitlines():
        task, run, path = line.split("\t")
        tasks.setdefault(int(task), []).append((run, path))
    return tasks


SCRIPTS = {
    "A100": ["--partition", "a100-daily", "--device", "cuda", "--module", "cuda/13"],
    "Grace Hopper": ["--partition", "gh-hourly", "--cluster", "gmerlin7", "--device", "cuda"],
    "CPU": [
        *("--partition", "general", "--cpus-per-task", "16", "--mem", "16G", "--account", "meg"),
        *("--setup", "export OMP_PROC_BIND=true", "--keep", "Michel's branch", "--batch", "8"),
        *("--tasks", "7", "--throttle", "3", "--time", "06:00:00", "--grace", "600"),
    ],
}


@pytest.mark.parametrize("arguments", SCRIPTS.values(), ids=SCRIPTS)
@pytest.mark.usefixtures("runs")
def test_script_is_correct_shell(arguments):
    common = ("@runs.txt", "-o", "results of 2023", "--environment", "envs/of the nodes")
    for more in ((), ("--dry-run",)):
        script = slurm(*common, *arguments, *more)
        subprocess.run([BASH, "-n"], input=script, text=True, check=True)
        if SHELLCHECK is None:
            pytest.skip("shellcheck is not installed")
        result = subprocess.run(
            [SHELLCHECK, "-"], input=script, text=True, check=False, capture_output=True
        )
        assert result.returncode == 0, result.stdout


def test_habits_of_the_cluster(runs):
    script = slurm("@runs.txt", "-o", "out", "--environment", "env", *SCRIPTS["A100"])
    stated = directives(script)
    assert stated["array"] == "0-29%8"
    assert stated["gpus-per-node"] == "1"
    assert stated["signal"] == "B:TERM@300"
    assert stated["time"] == "1-00:00:00"
    assert stated["output"] == "out/logs/%A_%a.log"
    assert (runs / "out" / "logs").is_dir()
    assert "requeue" in stated
    assert "module load cuda/13" in script
    assert "uname -m) != x86_64" in script
    assert "--device cuda --output out &" in script
    other = slurm("@runs.txt", "-o", "out", "--environment", "env", *SCRIPTS["CPU"])
    stated = directives(other)
    assert stated["array"] == "0-6%3"
    assert "gpus-per-node" not in stated
    assert "--keep 'Michel'\"'\"'s branch' --output out --sessions 16 --threads 1" in other
    stated = slurm("@runs.txt", "-o", "out", "--partition", "cpu", "--threads", "2")
    assert "--threads 2 --output out &" in stated


def test_every_file_is_in_one_task(runs):
    expected = [(str(430000 + n), str(runs / "data" / f"run {n}.root")) for n in range(30)]
    for division in (["--files-per-task", "4"], ["--tasks", "5"], []):
        script = slurm("@runs.txt", "-o", "out", "--partition", "cpu", *division)
        assert sorted(pair for task in files_of(script).values() for pair in task) == expected
    assert directives(slurm("@runs.txt", "-o", "out", "--partition", "cpu"))["array"] == "0-29"


def test_dry_run_shows_the_plan_and_makes_nothing(runs):
    before = sorted(runs.rglob("*"))
    script = slurm("@runs.txt", "-o", "out", "--partition", "cpu", "--tasks", "3", "--dry-run")
    assert script.startswith("#!/bin/bash\n# Dry run: nothing is written or submitted.\n# 3 tasks")
    assert "# task 2: " in script
    assert sorted(runs.rglob("*")) == before


@pytest.mark.usefixtures("runs")
def test_files_that_are_not_there_are_told():
    arguments = ["slurm", BUNDLE, "@runs.txt", "-o", "out", "--partition", "cpu", "--dry-run"]
    result = CliRunner().invoke(cli, arguments, catch_exceptions=False)
    assert "2 of 30 files are not there now; the first is data/run 28.root" in result.stderr


def test_script_in_a_file(runs):
    common = ("@runs.txt", "-o", "out", "--partition", "cpu")
    assert slurm(*common, "--script", "job.sh") == "submit with: sbatch job.sh\n"
    assert (runs / "job.sh").read_text() == slurm(*common)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--single"], "xec-deploy merge"),
        (["--force"], "remove the old ones"),
        (["--account", "a\nrm -r"], "line break"),
        (["--log", "nowhere/%A.log"], "no such folder"),
        (["--tasks", "3", "--files-per-task", "2"], "contradict"),
    ],
)
@pytest.mark.usefixtures("runs")
def test_mistakes_are_found_before_the_job_waits_in_the_queue(arguments, message):
    with pytest.raises(UsageError, match=message):
        slurm("@runs.txt", "-o", "out", "--partition", "cpu", *arguments)


def test_two_tasks_never_write_the_same_file(runs):
    (runs / "more").mkdir()
    (runs / "more" / "run 3.root").touch()
    with pytest.raises(UsageError, match="both be written"):
        slurm("@runs.txt", "more/run 3.root", "-o", "out", "--partition", "cpu")


@pytest.mark.usefixtures("runs")
def test_unknown_options_are_told():
    arguments = ["slurm", BUNDLE, "@runs.txt", "-o", "out", "--partition", "cpu", "--bacth", "3"]
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 2
    assert "--bacth" in result.stderr


@pytest.mark.usefixtures("runs")
def test_more_tasks_than_an_array_may_have(monkeypatch):
    monkeypatch.setattr("xec_deploy.cli.slurm.LARGEST_ARRAY", 10)
    script = slurm("@runs.txt", "-o", "out", "--partition", "cpu")
    assert directives(script)["array"] == "0-9"
    with pytest.raises(UsageError, match="Pass --files-per-task 3"):
        slurm("@runs.txt", "-o", "out", "--partition", "cpu", "--files-per-task", "1")


def test_no_sbatch_here(runs, monkeypatch):
    monkeypatch.setenv("PATH", str(runs))
    with pytest.raises(UsageError, match="no sbatch on this machine"):
        slurm("@runs.txt", "-o", "out", "--partition", "cpu", "--submit")


def test_submit(runs, monkeypatch):
    program = runs / "sbatch"
    program.write_text(f"#!{BASH}\ncat > {runs}/submitted.sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{runs}:{os.environ['PATH']}")
    common = ("@runs.txt", "-o", "out", "--partition", "cpu")
    slurm(*common, "--submit")
    assert (runs / "submitted.sh").read_text() == slurm(*common)


def test_names_that_a_list_cannot_hold(tmp_path):
    script = ArrayScript(
        name="x", bundle=BUNDLE, tasks=[[InputFile(str(tmp_path / "a\tb.root"))]], options=[],
        folder=".", environment="env", partition="cpu", log="%A_%a.log",
    )  # fmt: skip
    with pytest.raises(UsageError, match="tab or a line break"):
        script.text()


@pytest.fixture
def cluster(tmp_path):
    """A folder and the commands the script calls, each a few lines of shell.

    The ``xec-deploy`` of this cluster notes its arguments, then runs until it gets TERM.
    """
    programs = tmp_path / "env" / "bin"
    programs.mkdir(parents=True)
    for name, lines in {
        "scontrol": f'echo "$@" >> {tmp_path}/scontrol.log',
        "xec-deploy": f"printf '%s|' \"$@\" >> {tmp_path}/calls.log\necho >> {tmp_path}/calls.log\n"
        f"trap 'kill $!; exit 3' TERM\ntouch {tmp_path}/started\n"
        "sleep ${SECONDS_TO_RUN:-60} &\nwait $!; exit ${RESULT:-0}",
    }.items():
        program = programs / name
        program.write_text(f"#!{BASH}\n{lines}\n")
        program.chmod(0o755)
    script = ArrayScript(
        name="test",
        bundle="b.xec",
        tasks=[[InputFile("/data/a.root")], [InputFile("/d/b c.root", run=7), InputFile("x.root")]],
        options=["--output", "out"],
        folder=str(tmp_path),
        environment=str(tmp_path / "env"),
        partition="cpu",
        log="logs/%A_%a.log",
        restarts=2,
    ).text()
    (tmp_path / "job.sh").write_text(script)
    return tmp_path


def start(cluster, task=1, **environment):
    numbers = {"SLURM_JOB_ID": "4711", "SLURM_ARRAY_JOB_ID": "4711"}
    return subprocess.Popen(
        [BASH, cluster / "job.sh"],
        env={**os.environ, **numbers, "SLURM_ARRAY_TASK_ID": str(task), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=cluster,
    )


def stop_when_started(job, cluster):
    while not (cluster / "started").exists():
        time.sleep(0.01)
    job.send_signal(signal.SIGTERM)
    output, _ = job.communicate(timeout=60)
    return output


def test_a_task_has_its_files(cluster):
    output, _ = start(cluster, SECONDS_TO_RUN="0").communicate(timeout=60)
    assert "task 1 of array 4711" in output
    here = Path.cwd() / "x.root"
    call = (cluster / "calls.log").read_text()
    assert call == f"infer|b.xec|{here}|@logs/4711_1.txt|--output|out|\n"
    assert (cluster / "logs" / "4711_1.txt").read_text() == "7 /d/b c.root\n"
    start(cluster, task=0, SECONDS_TO_RUN="0").communicate(timeout=60)
    assert (cluster / "calls.log").read_text().endswith("infer|b.xec|/data/a.root|--output|out|\n")


def test_task_goes_back_to_the_queue_alone(cluster):
    job = start(cluster)
    assert "back to the queue" in stop_when_started(job, cluster)
    assert job.returncode == 0
    # 4711 would be the whole array.
    assert (cluster / "scontrol.log").read_text() == "requeue 4711_1\n"


def test_task_that_never_comes_to_an_end_is_given_up(cluster):
    job = start(cluster, SLURM_RESTART_COUNT="2")
    assert "not queued again" in stop_when_started(job, cluster)
    assert job.returncode == 3
    assert not (cluster / "scontrol.log").exists()


def test_bad_files_fail_the_task(cluster):
    job = start(cluster, SECONDS_TO_RUN="0", RESULT="3")
    job.communicate(timeout=60)
    assert job.returncode == 3
    assert not (cluster / "scontrol.log").exists()


def test_outside_an_array(cluster):
    job = subprocess.run(
        [BASH, cluster / "job.sh"], check=False, capture_output=True, text=True, cwd=cluster
    )
    assert job.returncode != 0
    assert "submit it with sbatch" in job.stderr


def test_array_of_real_tasks(runs):
    for number in range(2):
        config = SimulationConfig(seed=number + 1, first_run=430000 + number)
        write_simulation(runs / "data" / f"real{number}.root", config, 6)
    (runs / "runs.txt").write_text("430000 data/real0.root\n430001 data/real1.root\n")
    slurm("@runs.txt", "-o", "out", "--partition", HERE, "--script", "job.sh")
    for task in range(2):
        environment = {**os.environ, "SLURM_ARRAY_TASK_ID": str(task)}
        subprocess.run([BASH, "job.sh"], env=environment, check=True, capture_output=True)
        with uproot.open(runs / "out" / f"real{task}_xec.root") as file:
            assert file["xec"]["run"].array(library="np").tolist() == [430000 + task] * 6
