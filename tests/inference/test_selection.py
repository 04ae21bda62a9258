"""Parts of the input: entry ranges, runs, ranges for other machines."""

import numpy as np
import pytest
import uproot

from xec_deploy import infer
from xec_deploy.errors import InputError, UsageError
from xec_deploy.events import open_events
from xec_deploy.inference import infer_range, join_ranges, split_entries
from xec_deploy.inference.provenance import read_provenance
from xec_deploy.inference.selection import parse_entries, parse_runs

OPTIONS = {"batch": 8, "sessions": 1, "threads": 1, "backend": "onnxruntime"}


def test_ranges_as_users_write_them():
    assert parse_entries("10:20") == (10, 20)
    assert parse_entries("10:") == (10, None)
    assert parse_entries(":20") == (0, 20)
    assert parse_runs("430000") == ((430000, 430000),)
    assert parse_runs("430000-430100, 430200") == ((430000, 430100), (430200, 430200))
    for text in ("", ":", "20", "20:10", "5:5", "a:b", "-5:"):
        with pytest.raises(UsageError, match="--entries"):
            parse_entries(text)
    for text in ("", "a", "5-", "9-3", "1,,2"):
        with pytest.raises(UsageError, match="--runs"):
            parse_runs(text)


def test_entries_are_those_of_the_whole_result(bundle, events_file, tmp_path, read):
    infer(bundle, events_file, tmp_path / "all.root", **OPTIONS)
    infer(bundle, events_file, tmp_path / "some.root", entries="16:48", **OPTIONS)
    whole, some = read(tmp_path / "all.root"), read(tmp_path / "some.root")
    for name, values in some.items():
        np.testing.assert_array_equal(values, whole[name][16:48])
    assert read_provenance(tmp_path / "some.root")["input"]["selection"]["entries"] == [16, 48]
    (again,) = infer(bundle, events_file, tmp_path / "some.root", entries="16:48", **OPTIONS).files
    assert (again.outcome, again.entries) == ("skipped", 32)
    (other,) = infer(bundle, events_file, tmp_path / "some.root", entries="16:40", **OPTIONS).files
    assert "another input" in other.error
    (beyond,) = infer(bundle, events_file, tmp_path / "x.root", entries="100:200", **OPTIONS).files
    assert "has 130 entries" in beyond.error


def test_only_the_runs_asked_for(bundle, events_file, tmp_path, read, reference_root):
    with open_events(events_file) as events:
        run = next(events.batches(130)).run
    second = int(run[-1])
    infer(bundle, events_file, tmp_path / "one.root", runs=f"{second}-{second + 5}", **OPTIONS)
    found = read(tmp_path / "one.root")
    assert found["run"].tolist() == [second] * int((run == second).sum())
    np.testing.assert_array_equal(found["event"], np.flatnonzero(run == second))
    summary = infer(
        bundle,
        [events_file, reference_root / "fixed_lz4.root"],
        tmp_path / "out",
        runs=str(second),
        **OPTIONS,
    )
    assert [(file.outcome, file.entries) for file in summary.files] == [
        ("done", 50),
        ("skipped", 0),
    ]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["events_xec.root"]
    listed = tmp_path / "runs.txt"
    listed.write_text(f"5 absent.root\n{second} {events_file}\n")
    (found,) = infer(
        bundle, f"@{listed}", tmp_path / "list", runs=f"{second}-{second + 9}", **OPTIONS
    ).files
    assert (found.outcome, found.entries) == ("done", 50)
    with pytest.raises(UsageError, match="no input of runs 6"):
        infer(bundle, f"@{listed}", tmp_path / "list", runs="6", **OPTIONS)


def test_runs_in_several_places(bundle, tmp_path, reference_root, read):
    path = tmp_path / "mixed.root"
    with open_events(reference_root / "fixed_lz4.root") as events:
        batch = next(events.batches(12))
    run = np.repeat([5, 6, 5, 7], 3)
    with uproot.recreate(path) as file:
        types = {"run": "i4", "npho": ("f4", (4760,)), "relative_time": ("f4", (4760,))}
        tree = file.mktree("tree", types)
        tree.extend({"run": run, "npho": batch.npho, "relative_time": batch.time})
    infer(bundle, path, tmp_path / "out.root", runs="5,7", **OPTIONS)
    found = read(tmp_path / "out.root")
    assert found["event"].tolist() == [0, 1, 2, 6, 7, 8, 9, 10, 11]
    assert found["run"].tolist() == [5, 5, 5, 5, 5, 5, 7, 7, 7]


def test_split_entries():
    assert split_entries(100, batch=8, size=30) == [(0, 32), (32, 64), (64, 96), (96, 100)]
    assert split_entries(0, batch=8, size=30) == [(0, 0)]
    assert split_entries(20, batch=8, size=10, start=4) == [(4, 20), (20, 24)]


def test_ranges_joined_are_the_whole_file(bundle, events_file, tmp_path, read):
    infer(bundle, events_file, tmp_path / "whole.root", keep=["uvwTruth"], **OPTIONS)
    out, options = tmp_path / "out.root", {**OPTIONS, "keep": ["uvwTruth"]}
    ranges = split_entries(130, batch=8, size=50)
    for entries in reversed(ranges[1:]):
        infer_range(bundle, events_file, out, entries, **options)
    with pytest.raises(UsageError, match="entries 0 to 55 are not complete"):
        join_ranges(bundle, events_file, out, ranges, **options)
    assert infer_range(bundle, events_file, out, ranges[0], **options).resumed == 0
    assert infer_range(bundle, events_file, out, ranges[1], **options).resumed == 56
    with pytest.raises(UsageError, match="without gaps"):
        join_ranges(bundle, events_file, out, ranges[1:], **options)
    (done,) = join_ranges(bundle, events_file, out, ranges, **options).files
    assert (done.outcome, done.entries) == ("done", 130)
    assert [path.name for path in tmp_path.iterdir() if "part" in path.name] == []
    expected = read(tmp_path / "whole.root")
    for name, values in read(out).items():
        assert values.tobytes() == expected[name].tobytes()
    assert infer(bundle, events_file, out, **options).files[0].outcome == "skipped"


def test_a_range_of_a_bad_file(bundle, tmp_path, reference_root):
    with pytest.raises(InputError, match="truncated"):
        infer_range(
            bundle, reference_root / "truncated.root", tmp_path / "o.root", (0, 8), **OPTIONS
        )
