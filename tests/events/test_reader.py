import logging

import numpy as np
import pytest
import uproot
from hypothesis import given, settings
from hypothesis import strategies as st

from xec_deploy.errors import InputError, UsageError
from xec_deploy.events import InputFile, SensorArrays, dead_channels, open_events
from xec_deploy.events.ttree import TTreeBranch

FORMS = {
    "fixed_lz4": ("LZ4", "TTree, float[4760]"),
    "fixed_lzma": ("LZMA", "TTree, float[4760]"),
    "double_zlib": ("ZLIB", "TTree, double[4760]"),
    "vector_zstd": ("ZSTD", "TTree, std::vector<float>"),
    "rvec": ("ZLIB", "TTree, RVec<float>"),
    "rntuple": ("ZSTD", "RNTuple, ROOT::VecOps::RVec<float>"),
    "dead_branch": ("ZSTD", "TTree, float[4760]"),
}
KEEP = ("uvwTruth", "energyTruth", "event")


@pytest.mark.parametrize("name", FORMS)
def test_every_form_gives_the_same_events(reference_root, name, join, read_all, assert_same_events):
    expected = read_all(reference_root / "fixed_lz4.root", keep=KEEP)
    path = reference_root / f"{name}.root"
    with open_events(path, keep=KEEP) as file:
        assert (file.codec, file.form) == FORMS[name]
        assert (file.path, file.tree, file.num_entries) == (str(path), "tree", 60)
        assert file.branches.npho == "npho"
        assert_same_events(join(list(file.batches(7))), expected)


def test_batches_are_what_they_say(sixty, reference_root):
    with open_events(reference_root / "fixed_lz4.root", keep=["uvwTruth", "run"]) as file:
        batches = list(file.batches(25))
    assert [(batch.entry_start, len(batch)) for batch in batches] == [(0, 25), (25, 25), (50, 10)]
    first = batches[0]
    for array, dtype in ((first.npho, "f4"), (first.time, "f4"), (first.dead, "?")):
        assert array.shape == (25, 4760)
        assert array.dtype == dtype
        assert array.dtype.isnative
        assert array.flags.c_contiguous
    assert first.run.dtype == first.event.dtype == np.int64
    assert first.extra["uvwTruth"].shape == (25, 3)
    assert first.extra["run"].dtype == np.int32
    assert first.readable.all()
    invalid = ~np.isfinite(sixty.npho) | (sixty.npho > 9e9)
    np.testing.assert_array_equal(sixty.dead, invalid)
    assert sixty.dead.any()


def test_values_are_those_of_the_file(sixty, reference_root):
    with uproot.open({reference_root / "fixed_lz4.root": "tree"}) as tree:
        np.testing.assert_array_equal(sixty.npho, tree["npho"].array(library="np"))
        np.testing.assert_array_equal(sixty.time, tree["relative_time"].array(library="np"))
        np.testing.assert_array_equal(sixty.event, tree["event"].array(library="np"))


@pytest.mark.parametrize("name", ["fixed_lz4", "vector_zstd", "rntuple"])
@settings(max_examples=15, deadline=None)
@given(size=st.integers(1, 70), bounds=st.tuples(st.integers(0, 60), st.integers(0, 60)))
def test_batch_size_and_range_change_nothing(reference_root, sixty, name, size, bounds, join):
    start, stop = sorted(bounds)
    with open_events(reference_root / f"{name}.root") as file:
        batches = list(file.batches(size, start, stop))
    assert [len(batch) for batch in batches[:-1]] == [size] * (len(batches) - 1)
    assert sum(map(len, batches)) == stop - start
    if batches:
        got = join(batches)
        np.testing.assert_array_equal(got.npho, sixty.npho[start:stop])
        np.testing.assert_array_equal(got.time, sixty.time[start:stop])
        np.testing.assert_array_equal(got.event, sixty.event[start:stop])


def test_nonsensical_ranges(reference_root):
    with open_events(reference_root / "fixed_lz4.root") as file:
        for arguments in ((0,), (5, -1), (5, 0, 61), (5, 9, 3)):
            with pytest.raises(UsageError, match="cannot read entries"):
                file.batches(*arguments)


def test_two_iterations_do_not_disturb_each_other(reference_root, sixty, join, assert_same_events):
    with open_events(reference_root / "rntuple.root") as file:
        for left, right in zip(file.batches(20), file.batches(20, 0), strict=True):
            np.testing.assert_array_equal(left.npho, right.npho)
        assert_same_events(join(list(file.batches(11))), sixty)


def test_every_block_is_decompressed_once(make_events, monkeypatch):
    path = make_events("events.root", 1200)
    read = []
    plain = TTreeBranch.read_entries

    def recorded(branch, first, last, blocks=None):
        read.append((branch.name, first))
        return plain(branch, first, last, blocks)

    with open_events(path) as file:
        monkeypatch.setattr(TTreeBranch, "read_entries", recorded)
        assert sum(len(batch) for batch in file.batches(100)) == 1200
    assert len(read) == len(set(read))
    assert sum(name == "npho" for name, _ in read) == 3
    assert sum(name == "run" for name, _ in read) == 1


@pytest.mark.parametrize("name", ["fixed_lz4.root", "rntuple.root", "vector_zstd.root"])
def test_a_range_is_read_into_given_memory(reference_root, name):
    with open_events(reference_root / name, keep=["uvwTruth"]) as file:
        whole = next(file.batches(60))
        into = SensorArrays.empty(25)
        part = file.read(17, 42, into)
        assert part.npho is into.npho
        assert part.entry_start == 17
        for quantity in ("run", "event", "npho", "time", "dead", "readable"):
            expected = getattr(whole, quantity)[17:42]
            np.testing.assert_array_equal(getattr(part, quantity), expected, err_msg=quantity)
        np.testing.assert_array_equal(part.extra["uvwTruth"], whole.extra["uvwTruth"][17:42])
        kept = file.read_kept(17, 42)
        np.testing.assert_array_equal(kept["uvwTruth"], whole.extra["uvwTruth"][17:42])
        assert file.read_kept(5, 5)["uvwTruth"].shape == (0, 3)
        for arguments in ((0, 0), (0, 61), (9, 3)):
            with pytest.raises(UsageError, match="cannot read entries"):
                file.read(*arguments)


def test_nothing_beyond_a_range_is_decompressed(make_events, monkeypatch):
    path = make_events("events.root", 1200)
    read = []
    plain = TTreeBranch.read_entries

    def recorded(branch, first, last, blocks=None):
        read.append((first, last))
        return plain(branch, first, last, blocks)

    with open_events(path) as file:
        assert file.boundaries[[0, -1]].tolist() == [0, 1200]
        first, last = file.boundaries[1:3].tolist()
        monkeypatch.setattr(TTreeBranch, "read_entries", recorded)
        file.read(first, last)
    assert set(read) == {(first, last)}


def test_one_event_and_none(reference_root, read_all):
    assert len(read_all(reference_root / "one_event.root")) == 1
    with open_events(reference_root / "no_events.root") as file:
        assert file.num_entries == 0
        assert list(file.batches(16)) == []


def test_dead_branch_and_sources_are_joined(reference_root, tmp_path, read_all):
    path = reference_root / "dead_branch.root"
    ids = tmp_path / "dead.txt"
    ids.write_text("3\n4000\n")
    default = read_all(path)
    with uproot.open({path: "tree"}) as tree:
        stored = tree["dead"].array(library="np")
    invalid = ~(default.npho <= 9e9)
    np.testing.assert_array_equal(default.dead, stored | invalid)
    np.testing.assert_array_equal(read_all(path, dead=dead_channels("none")).dead, invalid)
    listed = invalid.copy()
    listed[:, [3, 4000]] = True
    np.testing.assert_array_equal(read_all(path, dead=dead_channels(ids)).dead, listed)
    with pytest.raises(InputError, match=r"fixed_lz4\.root, tree 'tree': no branch 'dead'"):
        open_events(reference_root / "fixed_lz4.root", dead=dead_channels("branch"))


def test_unknown_run_is_refused(reference_root, tmp_path, read_all):
    (tmp_path / "run1.txt").write_text("1\n")
    source = dead_channels(f"{tmp_path}/run{{run}}.txt")
    with pytest.raises(InputError, match=r"run \d+ has no dead-channel file"):
        read_all(reference_root / "fixed_lz4.root", dead=source)


def test_kept_branch_must_exist_and_hold_numbers(reference_root):
    with pytest.raises(InputError, match=r"no branch 'uvwTrut'.*Did you mean 'uvwTruth'"):
        open_events(reference_root / "fixed_lz4.root", keep=["uvwTrut"])


def test_run_and_event_where_the_file_has_none(tmp_path, caplog, read_all):
    path = tmp_path / "bare.root"
    with uproot.recreate(path) as file:
        channels = np.dtype(("f4", (4760,)))
        tree = file.mktree("rec", {"npho": channels, "time": channels})
        tree.extend({"npho": np.ones((3, 4760), "f4"), "time": np.zeros((3, 4760), "f4")})
    with caplog.at_level(logging.WARNING):
        events = read_all(path)
    assert "no branch 'run'" in caplog.text
    assert "no branch 'event'" in caplog.text
    assert events.run.tolist() == [-1, -1, -1]
    assert events.event.tolist() == [0, 1, 2]
    with open_events(InputFile(str(path), "rec", 430001)) as file:
        assert [batch.run.tolist() for batch in file.batches(2)] == [[430001] * 2, [430001]]


def test_doubles_beyond_float_become_infinite_and_dead(tmp_path, read_all):
    path = tmp_path / "double.root"
    npho = np.zeros((2, 4760))
    npho[0, :4] = [1e39, -1e39, np.nan, 1e10]
    with uproot.recreate(path) as file:
        channels = np.dtype(("f8", (4760,)))
        tree = file.mktree("tree", {"npho": channels, "time": channels})
        tree.extend({"npho": npho, "time": npho})
    events = read_all(path)
    np.testing.assert_array_equal(events.npho[0, :4], np.float32([np.inf, -np.inf, np.nan, 1e10]))
    assert np.flatnonzero(events.dead).tolist() == [0, 1, 2, 3]
