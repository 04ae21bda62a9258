import itertools
import json
import resource
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import uproot

from xec_deploy.errors import OutputError, UsageError
from xec_deploy.events import Column, EventWriter, ResultWriter

COLUMNS = {
    "run": Column("i8"),
    "status": Column("u4", description="bits"),
    "energy": Column("f4", "GeV"),
    "uvw": Column("f8", "cm", (3,), "first interaction"),
    "dead": Column("?", None, (2, 4)),
}
TITLES = {
    "run": "run",
    "status": "status: bits",
    "energy": "energy [GeV]",
    "uvw": "uvw [cm]: first interaction",
    "dead": "dead",
}


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def rows(rng, count):
    return {
        "run": np.arange(count, dtype=np.int64) + 2**40,
        "status": rng.integers(0, 32, count).astype(np.uint32),
        "energy": np.where(rng.random(count) < 0.1, np.nan, rng.random(count)).astype(np.float32),
        "uvw": rng.normal(size=(count, 3)),
        "dead": rng.random((count, 2, 4)) < 0.5,
    }


def write(path, data, portions, **options):
    count = len(data["run"])
    with ResultWriter(path, COLUMNS, **options) as writer:
        for start, stop in itertools.pairwise([*range(0, count, portions), count]):
            writer.extend({name: values[start:stop] for name, values in data.items()})
        writer.commit({"bundle": "x" * 1000, "entries": np.int64(count), "at": path}, count)


@pytest.mark.parametrize(("count", "portions"), [(1, 1), (25_000, 777), (20_000, 20_000)])
def test_uproot_reads_back_what_was_written(tmp_path, rng, count, portions):
    path = tmp_path / "out.root"
    data = rows(rng, count)
    write(path, data, portions)
    assert names_in(tmp_path) == ["out.root"]
    with uproot.open(path) as file:
        tree = file["xec"]
        assert tree.num_entries == count
        for name, values in data.items():
            got = tree[name].array(library="np")
            np.testing.assert_array_equal(got, values)
            assert got.dtype == values.dtype
            assert tree[name].title == TITLES[name]
        assert tree["run"].num_baskets == -(-count // 10_000)
        provenance = json.loads(str(file["provenance"]))
    assert provenance == {"bundle": "x" * 1000, "entries": count, "at": str(path)}


@pytest.mark.parametrize("compression", ["LZ4", "ZSTD", "ZLIB", "LZMA", "none"])
def test_root_reads_it(tmp_path, rng, root_module, compression):
    path = str(tmp_path / "out.root")
    data = rows(rng, 12_000)
    write(path, data, 5000, compression=compression)
    file = root_module.TFile(path)
    assert json.loads(str(file.Get("provenance").GetString()))["entries"] == 12_000
    tree = file.Get("xec")
    assert {branch.GetName(): branch.GetTitle() for branch in tree.GetListOfBranches()} == TITLES
    assert tree.GetLeaf("uvw").GetTitle() == "uvw[3]"
    energy, uvw = np.zeros(1, "f4"), np.zeros(3, "f8")
    tree.SetBranchAddress("energy", energy)
    tree.SetBranchAddress("uvw", uvw)
    for entry in (0, 9_999, 10_000, 11_999):
        assert tree.GetEntry(entry) > 0
        np.testing.assert_array_equal(energy[0], data["energy"][entry])
        np.testing.assert_array_equal(uvw, data["uvw"][entry])
    frame = root_module.RDataFrame("xec", path)
    assert "RVec<" in frame.GetColumnType("uvw")
    assert frame.Sum("run").GetValue() == data["run"].sum()
    last = frame.Define("w", "uvw[2]").AsNumpy(["w", "status"])
    np.testing.assert_array_equal(last["w"], data["uvw"][:, 2])
    np.testing.assert_array_equal(last["status"], data["status"])
    file.Close()


def test_root_merges_and_befriends_it(tmp_path, rng, root_module, make_events):
    data = rows(rng, 50)
    for name in ("a", "b"):
        write(tmp_path / f"{name}.root", data, 50)
    merger = root_module.TFileMerger(False)
    merger.OutputFile(str(tmp_path / "both.root"))
    for name in ("a", "b"):
        merger.AddFile(str(tmp_path / f"{name}.root"))
    assert merger.Merge()
    with uproot.open({tmp_path / "both.root": "xec"}) as tree:
        np.testing.assert_array_equal(tree["uvw"].array(library="np"), np.tile(data["uvw"], (2, 1)))
        assert tree["energy"].title == "energy [GeV]"
    events = root_module.TFile(str(make_events("events.root", 50)))
    tree = events.Get("tree")
    tree.AddFriend("xec", str(tmp_path / "a.root"))
    assert tree.Draw("xec.uvw[0]:npho[0]", "", "goff") == 50
    events.Close()


def test_no_rows(tmp_path, root_module):
    path = str(tmp_path / "out.root")
    with ResultWriter(path, COLUMNS) as writer:
        writer.commit({}, 0)
    file = root_module.TFile(path)
    assert file.Get("xec").GetEntries() == 0
    assert file.Get("xec").GetBranch("energy").GetTitle() == "energy [GeV]"
    file.Close()


def test_events_are_read_back(tmp_path, sixty, read_all, assert_same_events, root_module):
    path = tmp_path / "events.root"
    energy = np.linspace(0.01, 0.06, 60, dtype=np.float32)
    with EventWriter(path, {"energyTruth": Column("f4", "GeV")}, compression="ZSTD") as writer:
        writer.extend(
            {
                "run": sixty.run,
                "event": sixty.event,
                "npho": sixty.npho,
                "relative_time": sixty.time,
                "energyTruth": energy,
            }
        )
        writer.commit()
    got = read_all(path, keep=["energyTruth"])
    np.testing.assert_array_equal(got.extra.pop("energyTruth"), energy)
    assert_same_events(got, sixty)
    file = root_module.TFile(str(path))
    titles = [branch.GetTitle() for branch in file.Get("tree").GetListOfBranches()]
    assert titles == ["run", "event", "npho [photons]", "relative_time [s]", "energyTruth [GeV]"]
    assert not file.Get("provenance")
    file.Close()


def test_baskets_of_events_stay_small(make_events):
    with uproot.open({make_events("events.root", 900): "tree"}) as tree:
        assert max(np.diff(tree["npho"].entry_offsets)) * 4760 * 4 < 10e6


def write_five_rows(path, rng, *, expected=None, fail=False):
    with ResultWriter(path, COLUMNS) as writer:
        writer.extend(rows(rng, 5))
        if fail:
            raise RuntimeError("stop")
        if expected is not None:
            writer.commit({}, expected)
    return writer


def test_commit_counts_the_entries(tmp_path, rng):
    path = tmp_path / "out.root"
    path.write_bytes(b"an older result")
    with pytest.raises(OutputError, match=r"out\.root\.part: 6 entries should .* 'run' has 5"):
        write_five_rows(path, rng, expected=6)
    assert names_in(tmp_path) == ["out.root"]
    assert path.read_bytes() == b"an older result"


def test_exception_and_forgotten_commit_leave_nothing(tmp_path, rng):
    with pytest.raises(RuntimeError, match="stop"):
        write_five_rows(tmp_path / "out.root", rng, fail=True)
    writer = write_five_rows(tmp_path / "out.root", rng)
    assert names_in(tmp_path) == []
    with pytest.raises(ValueError, match="finished"):
        writer.commit()


def test_wrong_rows_are_programming_errors(tmp_path, rng):
    with ResultWriter(tmp_path / "out.root", COLUMNS) as writer:
        data = rows(rng, 5)
        for wrong in (
            {name: data[name] for name in ("run", "energy")},
            {**data, "other": data["run"]},
            {**data, "uvw": data["uvw"][:, :2]},
            {**data, "uvw": data["uvw"][:4]},
        ):
            with pytest.raises(ValueError, match="column"):
                writer.extend(wrong)


def test_places_where_nothing_can_be_written(tmp_path):
    for path, message in (
        (tmp_path / "absent" / "out.root", "directory does not exist"),
        (tmp_path, "is a directory"),
        ("/proc/out.root", "cannot be written|does not exist"),
    ):
        with pytest.raises(UsageError, match=message) as caught:
            ResultWriter(path, COLUMNS)
        assert str(path) in str(caught.value)
    assert not (tmp_path / "absent").exists()


def test_full_disk(tmp_path, rng):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, hard))
        with pytest.raises(
            OutputError, match=r"out\.root\.part: writing failed \(File too large\)"
        ):
            write(tmp_path / "out.root", rows(rng, 50_000), 10_000, compression="none")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, previous)
    assert names_in(tmp_path) == []


def test_killed_writer_leaves_only_the_part_file(tmp_path):
    program = """
import os, signal, sys
import numpy as np
from xec_deploy.events import Column, ResultWriter
with ResultWriter(sys.argv[1], {"energy": Column("f4", "GeV")}) as writer:
    writer.extend({"energy": np.zeros(25_000)})
    os.kill(os.getpid(), signal.SIGKILL)
"""
    path = tmp_path / "out.root"
    done = subprocess.run([sys.executable, "-c", program, path], check=False)
    assert done.returncode == -signal.SIGKILL
    assert names_in(tmp_path) == ["out.root.part"]
    with ResultWriter(path, {"energy": Column("f4", "GeV")}) as writer:
        writer.extend({"energy": np.ones(3)})
        writer.commit()
    assert names_in(tmp_path) == ["out.root"]
    with uproot.open({path: "xec"}) as tree:
        assert tree["energy"].array(library="np").tolist() == [1, 1, 1]


def test_relative_path(tmp_path, monkeypatch, rng):
    monkeypatch.chdir(tmp_path)
    write("out.root", rows(rng, 3), 3)
    assert Path("out.root").is_file()
