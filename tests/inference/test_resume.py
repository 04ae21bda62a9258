"""Exactly once: whatever interrupts the work, the same command ends with the same values."""

import itertools
import json
import os
import pkgutil
import resource
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import uproot

import xec_deploy.inference.assembly
import xec_deploy.inference.spool
from xec_deploy import infer
from xec_deploy.backends import RunOptions
from xec_deploy.cli.infer import exit_code
from xec_deploy.errors import InferenceError, Interrupted, OutputError
from xec_deploy.events import EventWriter, open_events
from xec_deploy.inference.locking import FileLock
from xec_deploy.inference.provenance import read_provenance

OPTIONS = {"batch": 4, "sessions": 1, "threads": 1, "backend": "onnxruntime"}
REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def expected(bundle, events_file, tmp_path_factory):
    """Values of an uninterrupted run, as bytes."""
    out = tmp_path_factory.mktemp("whole") / "out.root"
    infer(bundle, events_file, out, **OPTIONS)
    return values(out)


@pytest.fixture(autouse=True)
def short_segments(monkeypatch):
    monkeypatch.setattr(xec_deploy.inference.spool, "SEGMENT_SECONDS", 0.0)


def values(path):
    with uproot.open({path: "xec"}) as tree:
        return {branch.name: branch.array(library="np").tobytes() for branch in tree.branches}


def at_batch(number, action):
    """Return a progress function that acts once that many batches are done."""
    count = itertools.count(1)
    return lambda _: action() if next(count) == number else None


def terminate():
    os.kill(os.getpid(), signal.SIGTERM)


def test_sigterm_keeps_what_is_done_and_the_rerun_adds_the_rest(
    bundle, events_file, tmp_path, expected
):
    out = tmp_path / "out.root"
    with pytest.raises(Interrupted, match="SIGTERM") as caught:
        infer(bundle, events_file, out, progress=at_batch(5, terminate), **OPTIONS)
    (file,) = caught.value.summary.files
    assert file.outcome == "unfinished"
    assert 20 <= file.entries < 130
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert not out.exists()
    (again,) = infer(bundle, events_file, out, **OPTIONS).files
    assert (again.outcome, again.entries, again.resumed) == ("done", 130, file.entries)
    assert values(out) == expected
    assert [path.name for path in tmp_path.iterdir()] == ["out.root"]


@pytest.mark.parametrize(
    ("owner", "function"),
    [
        ("xec_deploy.events.ttree:TTreeBranch", "read_entries"),
        ("xec_deploy.events.prepare:Preparer", "batch"),
        ("xec_deploy.inference.inferring", "evaluate"),
        ("xec_deploy.inference.spool:Spool", "_write_segment"),
        ("xec_deploy.events.writer:ResultWriter", "extend"),
    ],
)
def test_sigterm_in_every_stage(
    bundle, events_file, tmp_path, expected, monkeypatch, owner, function
):
    out, count = tmp_path / "out.root", itertools.count(1)
    place = pkgutil.resolve_name(owner)
    original = getattr(place, function)

    def interrupted(*arguments, **options):
        if next(count) == 2:
            terminate()
        return original(*arguments, **options)

    monkeypatch.setattr(place, function, interrupted)
    with suppress(Interrupted):
        infer(bundle, events_file, out, **OPTIONS)
    assert next(count) > 2
    infer(bundle, events_file, out, **OPTIONS)
    assert values(out) == expected


def test_several_files_go_on_at_the_one_that_was_interrupted(
    bundle, events_file, tmp_path, expected, reference_root
):
    inputs = [reference_root / "one_event.root", events_file, reference_root / "fixed_lz4.root"]
    out = tmp_path / "out"
    with pytest.raises(Interrupted):
        infer(bundle, inputs, out, progress=at_batch(4, terminate), **OPTIONS)
    outcomes = [file.outcome for file in infer(bundle, inputs, out, **OPTIONS).files]
    assert outcomes == ["skipped", "done", "done"]
    assert values(out / "events_xec.root") == expected


def test_joined_results_go_on_too(bundle, events_file, tmp_path, reference_root):
    inputs = [reference_root / "fixed_lz4.root", events_file]
    whole, out = tmp_path / "whole.root", tmp_path / "out.root"
    infer(bundle, inputs, whole, single=True, **OPTIONS)
    with pytest.raises(Interrupted):
        infer(bundle, inputs, out, single=True, progress=at_batch(20, terminate), **OPTIONS)
    summary = infer(bundle, inputs, out, single=True, **OPTIONS)
    assert summary.files[0].resumed == 60
    assert 0 < summary.files[1].resumed < 130
    assert values(out) == values(whole)


def test_what_the_first_run_chose_is_kept(bundle, events_file, tmp_path, expected):
    out = tmp_path / "out.root"
    with pytest.raises(Interrupted):
        infer(bundle, events_file, out, progress=at_batch(3, terminate), **OPTIONS)
    (refused,) = infer(bundle, events_file, out, batch=5).files
    assert "begun with another batch" in refused.error
    infer(bundle, events_file, out)
    assert values(out) == expected
    assert read_provenance(out)["backend"]["batch"] == 4


def test_force_starts_anew(bundle, events_file, tmp_path):
    out = tmp_path / "out.root"
    with pytest.raises(Interrupted):
        infer(bundle, events_file, out, progress=at_batch(3, terminate), **OPTIONS)
    (file,) = infer(bundle, events_file, out, **{**OPTIONS, "batch": 5}, force=True).files
    assert file.resumed == 0
    assert read_provenance(out)["batch"] == 5


def test_an_input_that_vanishes_is_recorded(bundle, events_file, tmp_path):
    source, out = tmp_path / "in.root", tmp_path / "out.root"
    source.write_bytes(events_file.read_bytes())
    summary = infer(bundle, source, out, progress=at_batch(3, source.unlink), **OPTIONS)
    assert "has gone while it was being read" in summary.files[0].error
    assert exit_code(summary) == 3
    assert list(tmp_path.iterdir()) == []


def test_an_input_that_changes_is_recorded(bundle, events_file, tmp_path, expected):
    source, out = tmp_path / "in.root", tmp_path / "out.root"
    source.write_bytes(events_file.read_bytes())

    def change():
        with source.open("r+b") as stream:
            stream.seek(-1, os.SEEK_END)
            stream.write(b"!")

    summary = infer(bundle, source, out, progress=at_batch(3, change), **OPTIONS)
    assert "was changed while it was being read" in summary.files[0].error
    assert not out.exists()
    source.write_bytes(events_file.read_bytes())
    infer(bundle, source, out, **OPTIONS)
    assert values(out) == expected


def test_an_input_that_changed_since_starts_anew(bundle, events_file, tmp_path, caplog, expected):
    source, out = tmp_path / "in.root", tmp_path / "out.root"
    source.write_bytes(events_file.read_bytes() + b"longer")
    with pytest.raises(Interrupted):
        infer(bundle, source, out, progress=at_batch(3, terminate), **OPTIONS)
    source.write_bytes(events_file.read_bytes())
    (file,) = infer(bundle, source, out, **OPTIONS).files
    assert file.resumed == 0
    assert "starts anew" in caplog.text
    assert values(out) == expected


def test_a_touched_input_is_recognised_by_its_checksum(bundle, events_file, tmp_path):
    source, out = tmp_path / "in.root", tmp_path / "out.root"
    source.write_bytes(events_file.read_bytes())
    infer(bundle, source, out, **OPTIONS)
    os.utime(source, (1, 1))
    assert infer(bundle, source, out, **OPTIONS).files[0].outcome == "skipped"


def test_two_jobs_on_one_output(bundle, events_file, tmp_path, expected):
    out = tmp_path / "out.root"
    (tmp_path / "out.root.part").mkdir()
    lock = FileLock(tmp_path / "out.root.part" / "lock", out)
    summary = infer(bundle, events_file, out, **OPTIONS)
    assert f"another job is writing this output (process {os.getpid()}" in summary.files[0].error
    assert exit_code(summary) == 2
    lock.release()
    infer(bundle, events_file, out, **OPTIONS)
    assert values(out) == expected


@pytest.mark.parametrize("when", ["rows", "result"])
def test_full_disk(bundle, events_file, tmp_path, monkeypatch, expected, when):
    out = tmp_path / "out.root"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill():
        resource.setrlimit(resource.RLIMIT_FSIZE, (6000, hard))

    if when == "result":
        plain = xec_deploy.inference.assembly.ResultWriter.extend
        monkeypatch.setattr(
            "xec_deploy.inference.assembly.ResultWriter.extend",
            lambda *arguments: (fill(), plain(*arguments))[1],
        )
    try:
        progress = at_batch(5, fill) if when == "rows" else None
        with pytest.raises(OutputError, match=r"File too large.*run the same command"):
            infer(bundle, events_file, out, progress=progress, **OPTIONS)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    monkeypatch.undo()
    assert not out.exists()
    (file,) = infer(bundle, events_file, out, **OPTIONS).files
    assert file.resumed >= (16 if when == "rows" else 130)
    assert values(out) == expected


def test_a_disk_that_is_really_full(bundle, events_file, tmp_path, expected):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount, umount = shutil.which("mount"), shutil.which("umount")
    small = [mount, "-t", "tmpfs", "-o", "size=64k", "tmpfs", disk]
    if mount is None or subprocess.run(small, capture_output=True, check=False).returncode:
        pytest.skip("a small disk can only be mounted by root")
    try:
        with pytest.raises(OutputError, match="No space left on device"):
            infer(bundle, events_file, disk / "out.root", keep=["relative_time"], **OPTIONS)
        subprocess.run([mount, "-o", "remount,size=32m", disk], check=True)
        infer(bundle, events_file, disk / "out.root", keep=["relative_time"], **OPTIONS)
        found = values(disk / "out.root")
        assert {name: found[name] for name in expected} == expected
    finally:
        subprocess.run([umount, disk], check=True)


@pytest.mark.parametrize("folder", ["/proc", "/sys"])
def test_places_that_are_read_only(bundle, events_file, folder):
    summary = infer(bundle, events_file, f"{folder}/out.root", **OPTIONS)
    assert f"{folder}/out.root.part: the results cannot be written here" in summary.files[0].error
    assert exit_code(summary) == 2


def test_an_engine_that_fails_names_file_and_entries(
    bundle, events_file, tmp_path, monkeypatch, expected
):
    engine = bundle.backend("onnxruntime", options=RunOptions("cpu", 4, 1, 1))
    plain, count = engine.run, itertools.count(1)

    def failing(*arguments):
        if next(count) == 6:
            raise RuntimeError("bad allocation")
        return plain(*arguments)

    monkeypatch.setattr(engine, "run", failing)
    with pytest.raises(InferenceError, match=r"events\.root, tree 'tree', entries 20 to 23: .*bad"):
        infer(bundle, events_file, tmp_path / "out.root", **OPTIONS)
    infer(bundle, events_file, tmp_path / "out.root", **OPTIONS)
    assert values(tmp_path / "out.root") == expected


def test_damage_in_the_middle_of_a_file(bundle, events_file, tmp_path):
    source = tmp_path / "in.root"
    with open_events(events_file) as events:
        batch = next(events.batches(130))
    # Not LZ4: it leaves noise as it is, and what is not compressed has no checksum.
    with EventWriter(source, compression="ZLIB") as writer:
        for _ in range(5):
            writer.extend(
                {
                    "run": batch.run,
                    "event": batch.event,
                    "npho": batch.npho.round(),
                    "relative_time": batch.time,
                }
            )
        writer.commit()
    content = np.fromfile(source, np.uint8)
    content[len(content) * 2 // 3 : len(content) * 2 // 3 + 64] ^= 255
    content.tofile(source)
    summary = infer(bundle, source, tmp_path / "out.root", **OPTIONS)
    assert "branch" in summary.files[0].error
    assert "entries" in summary.files[0].error
    assert [path.name for path in tmp_path.iterdir()] == ["in.root"]


@pytest.mark.slow
def test_killed_again_and_again(tmp_path):
    log = tmp_path / "log.json"
    subprocess.run(
        [
            *(sys.executable, REPOSITORY / "benchmarks" / "kill_test.py"),
            *("--kills", "6", "--events", "300", "--json", log),
        ],
        check=True,
    )
    found = json.loads(log.read_text())
    assert found["kills"] >= 6
    assert found["equal"] == found["results"] > 0
