"""Inference on a real Dask cluster of processes: the values of one machine, whatever happens."""

import gc
import json
import logging
import os
import resource
import shutil
import signal
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import uproot
from click.testing import CliRunner
from distributed import LocalCluster

import xec_deploy.cluster
from xec_deploy import infer
from xec_deploy.bundle import shipped_bundle
from xec_deploy.cli.main import cli
from xec_deploy.cluster import infer_on_cluster
from xec_deploy.cluster.connect import connect, queue_settings
from xec_deploy.errors import Interrupted, MissingExtra, UsageError
from xec_deploy.events import EventWriter, InputFile, open_events
from xec_deploy.inference import infer_range
from xec_deploy.inference.provenance import RECIPE_KEYS, differences, read_provenance
from xec_deploy.simulation import SimulationConfig, write_simulation

BUNDLE = shipped_bundle()
ENTRIES = {"a": 70, "large": 600, "b": 33}
SMALL = 160
"""Entries of a task: the large file is split in four."""
ENGINE = {"backend": "onnxruntime", "batch": 16}
"""Left open, a machine chooses what is fastest there."""


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """Three files, the large one without run numbers, a broken one, and the list of them."""
    folder = tmp_path_factory.mktemp("inputs")
    write_simulation(folder / "a.root", SimulationConfig(seed=1, first_run=430000), 70)
    write_simulation(folder / "b.root", SimulationConfig(seed=2, first_run=430002), 33)
    with open_events(folder / "a.root") as events:
        batch = next(events.batches(70))
    order = np.arange(ENTRIES["large"]) % 70
    with EventWriter(folder / "large.root") as writer:
        writer.extend(
            {
                "run": np.full(len(order), 430001),
                "event": np.arange(len(order)),
                "npho": batch.npho[order],
                "relative_time": batch.time[order],
            }
        )
        writer.commit()
    (folder / "broken.root").write_bytes((folder / "a.root").read_bytes()[:50_000])
    names = ("a", "large", "broken", "b")
    (folder / "runs.txt").write_text(
        "".join(f"{430000 + n} {name}.root\n" for n, name in enumerate(names))
    )
    return folder


@pytest.fixture(scope="module")
def local(inputs, tmp_path_factory):
    """Results of one process."""
    folder = tmp_path_factory.mktemp("local")
    infer(BUNDLE, f"@{inputs}/runs.txt", folder, **ENGINE)
    return folder


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """Two processes on this machine, as ``local:2`` makes them, for all tests."""
    with LocalCluster(
        n_workers=2,
        threads_per_worker=1,
        processes=True,
        dashboard_address=":0",
        silence_logs=logging.CRITICAL,
        local_directory=tmp_path_factory.mktemp("dask"),
    ) as cluster:
        yield cluster
    # Sockets of the cluster are closed here and not in the middle of another test.
    gc.collect()


def content(path):
    with uproot.open(path) as file:
        return {name: branch.array(library="np") for name, branch in file["xec"].items()}


def assert_same(found, expected, names=("a", "large", "b")):
    """Compare every branch of every file bit by bit."""
    for name in names:
        one, other = content(found / f"{name}_xec.root"), content(expected / f"{name}_xec.root")
        assert len(one["run"]) == ENTRIES[name]
        assert list(one) == list(other)
        for branch, values in other.items():
            assert one[branch].tobytes() == values.tobytes(), f"{name}: {branch}"


def run(cluster, inputs, output, **options):
    options = {"entries_a_task": SMALL, **ENGINE, **options}
    return infer_on_cluster(
        cluster.scheduler_address, BUNDLE, f"@{inputs}/runs.txt", output, **options
    )


def test_values_and_provenance_of_one_machine(cluster, inputs, local, tmp_path, caplog):
    done = []
    summary = run(cluster, inputs, tmp_path, progress=done.append)
    outcomes = {Path(file.input).stem: file.outcome for file in summary.files}
    assert outcomes == {"a": "done", "large": "done", "broken": "failed", "b": "done"}
    assert "broken.root" in caplog.text
    assert sum(done) == sum(ENTRIES.values())
    assert_same(tmp_path, local)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "a_xec.root",
        "b_xec.root",
        "large_xec.root",
    ]
    for name in ENTRIES:
        found = read_provenance(tmp_path / f"{name}_xec.root")
        expected = read_provenance(local / f"{name}_xec.root")
        assert set(RECIPE_KEYS) <= set(found)
        assert differences(found, expected, ()) == []
        assert found["input"] == expected["input"]
        assert found["command"] == sys.argv
        assert set(found) == set(expected)


def test_duplicates_and_drift_are_those_of_one_machine(cluster, inputs, tmp_path, caplog):
    os.link(inputs / "large.root", tmp_path / "again.root")
    os.link(inputs / "b.root", tmp_path / "twice.root")
    names = [inputs / "a.root", inputs / "b.root", inputs / "large.root"]
    paths = [str(path) for path in (*names, tmp_path / "again.root", tmp_path / "twice.root")]
    options = {**ENGINE, "tree": "tree"}
    expected = infer(BUNDLE, paths, tmp_path / "local", **options)
    address = cluster.scheduler_address
    caplog.clear()
    found = infer_on_cluster(
        address, BUNDLE, paths, tmp_path / "dask", entries_a_task=SMALL, **options
    )
    assert found.duplicates == expected.duplicates
    assert found.duplicates["count"] == 633
    assert found.duplicates["examples"][0][2].endswith("again.root")
    assert "633 events come more than once, first run 430001 event 0" in caplog.text
    assert found.drift == expected.drift
    assert found.drift["events"] == 1336
    assert set(found.engine) == set(expected.engine)


def test_finished_files_are_kept(cluster, inputs, local, tmp_path):
    for name in ENTRIES:
        shutil.copy(local / f"{name}_xec.root", tmp_path)
    summary = run(cluster, inputs, tmp_path)
    assert [file.outcome for file in summary.files] == ["skipped", "skipped", "failed", "skipped"]
    other = run(cluster, inputs, tmp_path, reco="conventional")
    assert len(other.of("failed")) == 4
    assert "--force" in other.files[1].error
    forced = run(cluster, inputs, tmp_path, force=True)
    assert len(forced.of("done")) == 3
    assert_same(tmp_path, local)


def holders(folder):
    """Return the processes that write results now."""
    found = set()
    for lock in folder.glob("*.part/*.lock"):
        try:
            text = lock.read_text()
        except FileNotFoundError:
            continue
        if text.startswith("process "):
            found.add(int(text.split()[1]))
    return found


def test_workers_killed_at_work(cluster, inputs, local, tmp_path):
    killed = []
    finished = threading.Event()

    def kill():
        while len(killed) < 2 and not finished.is_set():
            # This process holds locks too, while it joins what the workers made.
            for process in holders(tmp_path) - {*killed, os.getpid()}:
                os.kill(process, signal.SIGKILL)
                killed.append(process)
                break
            finished.wait(0.002)

    killer = threading.Thread(target=kill)
    killer.start()
    summary = run(cluster, inputs, tmp_path)
    finished.set()
    killer.join()
    assert len(killed) == 2
    assert len(summary.of("done")) == 3
    assert_same(tmp_path, local)
    assert not list(tmp_path.glob("*.part"))


def test_work_begun_on_one_machine_is_continued(cluster, inputs, local, tmp_path):
    item = InputFile(f"{inputs}/large.root", run=430001)
    infer_range(BUNDLE, item, tmp_path / "large_xec.root", (0, SMALL), **ENGINE)
    # What is left open is what it was begun with.
    summary = run(cluster, inputs, tmp_path, batch=None)
    assert [file.resumed for file in summary.files] == [0, SMALL, 0, 0]
    assert_same(tmp_path, local, names=["large"])


def test_being_told_to_stop(cluster, inputs, tmp_path):
    told = []

    def tell(_):
        # A second signal would have its usual effect.
        if not told:
            os.kill(os.getpid(), signal.SIGTERM)
        told.append(True)

    with pytest.raises(Interrupted, match="run the same command again") as caught:
        run(cluster, inputs, tmp_path, progress=tell)
    assert len(caught.value.summary.files) == 4
    assert run(cluster, inputs, tmp_path).of("done")


def limit_memory(extra):
    """Allow this process so much more memory than it has; None for any amount."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    soft = hard if extra is None else pages * resource.getpagesize() + extra
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def test_want_of_memory(cluster, inputs, tmp_path, caplog):
    """The batch needs 200 MB; it is there when other tasks are done, or not at all."""
    caplog.set_level(logging.INFO, "xec_deploy")
    options = {"backend": "onnxruntime", "batch": 1024, "sessions": 1, "threads": 1}
    one = f"{inputs}/a.root"
    infer(BUNDLE, one, tmp_path / "expected.root", **options)
    with connect(cluster.scheduler_address) as (client, _):

        class Others(logging.Handler):
            """Other programs on the machine, which take memory and give it back."""

            leave_at = "one at a time on each of 1 machines"

            def emit(self, record):
                message = record.getMessage()
                if message.startswith("workers run"):
                    client.run(limit_memory, 50 * 2**20)
                elif self.leave_at in message:
                    client.run(limit_memory, None)

        others = Others()
        logging.getLogger("xec_deploy").addHandler(others)
        address = cluster.scheduler_address
        try:
            summary = infer_on_cluster(address, BUNDLE, one, tmp_path / "out", **options)
            others.leave_at = "never"
            failed = infer_on_cluster(address, BUNDLE, one, tmp_path / "again", **options)
        finally:
            logging.getLogger("xec_deploy").removeHandler(others)
            client.run(limit_memory, None)
    assert [file.outcome for file in summary.files] == ["done"]
    assert "1 tasks ran out of memory: they are run again with the same batch" in caplog.text
    expected = content(tmp_path / "expected.root")
    for branch, values in content(tmp_path / "out" / "a_xec.root").items():
        assert values.tobytes() == expected[branch].tobytes()
    assert failed.files[0].outcome == "failed"
    assert "memory" in failed.files[0].error


def test_command(cluster, inputs, local, tmp_path):
    arguments = [
        *("infer", str(BUNDLE), f"{inputs}/a.root", "-o", str(tmp_path), "--json"),
        *("--backend", "onnxruntime", "--batch", "16", "--dask", cluster.scheduler_address),
    ]
    result = CliRunner().invoke(cli, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["files"][0]["entries"] == 70
    assert_same(tmp_path, local, names=["a"])


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("local:0", "a number of processes"),
        ("local:x", "local:4"),
        ("tcp://127.0.0.1:1", "answers"),
    ],
)
def test_clusters_that_are_none(inputs, tmp_path, monkeypatch, where, message):
    monkeypatch.setattr("xec_deploy.cluster.connect.CONNECT_TIMEOUT_S", 1)
    with pytest.raises(UsageError, match=message):
        infer_on_cluster(where, BUNDLE, f"{inputs}/a.root", tmp_path)


def test_what_a_cluster_does_not_do(inputs, tmp_path):
    with pytest.raises(UsageError, match="xec-deploy merge"):
        infer_on_cluster("local:1", BUNDLE, f"{inputs}/a.root", tmp_path / "a.root", single=True)
    with pytest.raises(UsageError, match="no option 'bacth'"):
        infer_on_cluster("local:1", BUNDLE, f"{inputs}/a.root", tmp_path, bacth=3)


def test_without_dask(monkeypatch):
    for name in [name for name in sys.modules if name.startswith("xec_deploy.cluster.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr(xec_deploy.cluster, "distribute", raising=False)
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(MissingExtra, match=r"pip install 'xec-deploy\[dask\]'"):
        infer_on_cluster("local:1", BUNDLE, "a.root", "out")


SETTINGS = """\
cores: 2
processes: 2
memory: 4GB
walltime: "01:00:00"
queue: a100-daily
job_extra_directives: ["--gpus-per-node=1"]
jobs: 1
"""


def test_settings_of_a_batch_system(tmp_path):
    from dask_jobqueue import HTCondorCluster, SLURMCluster

    path = tmp_path / "cluster.yaml"
    path.write_text(SETTINGS)
    settings, scale = queue_settings(str(path), SLURMCluster)
    assert scale == {"jobs": 1}
    assert settings["queue"] == "a100-daily"
    path.write_text("cores: 2\nmemory: 4GB\ndisk: 1GB\nminimum_jobs: 1\nmaximum_jobs: 9\n")
    assert queue_settings(str(path), HTCondorCluster)[1] == {"minimum_jobs": 1, "maximum_jobs": 9}
    for text, message in {
        "cors: 2\njobs: 1": "Did you mean 'cores'",
        "cores: 2\njobs: 1": "cores and memory of a job are not stated",
        "cores: 2\nmemory: 4GB": "number of jobs is not stated",
        "cores: 2\nmemory: 4GB\njobs: many": "no whole number",
        "- cores": "no mapping",
        "a: [": "not YAML",
    }.items():
        path.write_text(text)
        with pytest.raises(UsageError, match=message):
            queue_settings(str(path), SLURMCluster)
    with pytest.raises(UsageError, match="cannot be read"):
        queue_settings(str(tmp_path / "none.yaml"), SLURMCluster)


@pytest.mark.slow
def test_workers_that_are_jobs_of_slurm(inputs, local, tmp_path, monkeypatch):
    """With an sbatch and an scancel of a few lines, jobs run here as processes."""
    programs = tmp_path / "bin"
    programs.mkdir()
    jobs = tmp_path / "jobs"
    jobs.mkdir()
    for name, lines in {
        "sbatch": f"cp $1 {jobs}/script\nsetsid bash {jobs}/script >{jobs}/log 2>&1 &\n"
        f"echo $! >{jobs}/number\necho Submitted batch job $!",
        "scancel": "kill -- -$1",
    }.items():
        (programs / name).write_text(f"#!/bin/bash\n{lines}\n")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path)
    Path("cluster.yaml").write_text(SETTINGS + 'interface: lo\nlog_directory: "."\n')
    summary = infer_on_cluster(
        "slurm:cluster.yaml", BUNDLE, f"@{inputs}/runs.txt", "out", entries_a_task=SMALL, **ENGINE
    )
    assert len(summary.of("done")) == 3
    assert_same(tmp_path / "out", local)
    script = (jobs / "script").read_text()
    assert "#SBATCH -p a100-daily" in script
    assert "#SBATCH --gpus-per-node=1" in script
    # The job is cancelled when the work is done.
    number = int((jobs / "number").read_text())
    deadline = time.monotonic() + 30
    while _alive(number) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _alive(number)


def _alive(process):
    try:
        os.killpg(process, 0)
    except ProcessLookupError:
        return False
    return True
