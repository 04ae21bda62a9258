"""Files in, physics numbers out: nothing lost, nothing invented."""

import functools
import json

import numpy as np
import pytest
import uproot

import xec_deploy
from xec_deploy.backends import RunOptions
from xec_deploy.detector import uvw_to_xyz
from xec_deploy.errors import UsageError
from xec_deploy.events import EventWriter, open_events
from xec_deploy.inference import Status
from xec_deploy.inference.provenance import read_provenance

# Nothing is left to be tuned: the same on every machine, and at once.
infer = functools.partial(xec_deploy.infer, backend="onnxruntime", batch=16, sessions=1, threads=1)
READABLE = {
    "dead_branch": 60, "double_zlib": 60, "fixed_lz4": 60, "fixed_lzma": 60, "no_events": 0,
    "one_event": 1, "rntuple": 60, "rvec": 60, "vector_zstd": 60,
}  # fmt: skip
BROKEN = {"corrupted": "checksum", "truncated": "truncated", "wrong_length": "4092 values"}
VALUES = ("energy", "theta", "phi", "timing", "u", "v", "w", "x", "y", "z")


@pytest.fixture(scope="session")
def reference_results(bundle, reference_root, tmp_path_factory):
    """All reference files in one command."""
    folder = tmp_path_factory.mktemp("reference")
    summary = infer(bundle, str(reference_root / "*.root"), folder)
    return folder, {file.input.rsplit("/", 1)[-1][:-5]: file for file in summary.files}


def write_events(path, npho, time):
    with EventWriter(path) as writer:
        count = len(npho)
        writer.extend(
            {
                "run": np.full(count, 7),
                "event": np.arange(count),
                "npho": npho,
                "relative_time": time,
            }
        )
        writer.commit()
    return path


def test_every_readable_reference_file_has_all_entries(reference_results, read):
    folder, files = reference_results
    for name, entries in READABLE.items():
        assert (files[name].outcome, files[name].entries) == ("done", entries)
        assert len(read(folder / f"{name}_xec.root")["run"]) == entries


@pytest.mark.parametrize("name", BROKEN)
def test_broken_reference_files_are_reported_and_leave_nothing(reference_results, name):
    folder, files = reference_results
    assert files[name].outcome == "failed"
    assert name in files[name].error
    assert BROKEN[name] in files[name].error
    assert not list(folder.glob(f"{name}*"))


def test_all_forms_give_the_same_values(reference_results, read):
    folder, _ = reference_results
    expected = read(folder / "fixed_lz4_xec.root")
    assert np.isfinite(expected["energy"]).all()
    for name in ("fixed_lzma", "double_zlib", "vector_zstd", "rvec", "rntuple"):
        found = read(folder / f"{name}_xec.root")
        for branch, values in expected.items():
            np.testing.assert_array_equal(found[branch], values, err_msg=f"{name}: {branch}")


def test_root_itself_reads_values_units_and_provenance(reference_results, read, root_module):
    folder, _ = reference_results
    path = folder / "fixed_lz4_xec.root"
    expected = read(path)
    file = root_module.TFile.Open(str(path))
    tree = file.Get("xec")
    assert tree.GetEntries() == 60
    titles = {b.GetName(): b.GetTitle() for b in tree.GetListOfBranches()}
    assert titles["energy"] == "energy [GeV]"
    assert titles["theta"] == "theta [deg]"
    assert titles["timing"] == "timing [ns]"
    assert all(titles[name] == f"{name} [cm]" for name in "uvwxyz")
    frame = root_module.RDataFrame("xec", str(path)).AsNumpy(["energy", "event", "status"])
    for name, values in frame.items():
        np.testing.assert_array_equal(values, expected[name])
    provenance = json.loads(str(file.Get("provenance").GetString()))
    assert provenance["input"]["entries"] == 60
    file.Close()


def test_results_are_friends_of_the_input(reference_results, reference_root, root_module):
    folder, _ = reference_results
    file = root_module.TFile.Open(str(reference_root / "fixed_lz4.root"))
    tree = file.Get("tree")
    tree.AddFriend("xec", str(folder / "fixed_lz4_xec.root"))
    assert tree.Draw("xec.event - event", "xec.run == run", "goff") == 60
    assert all(tree.GetV1()[i] == 0 for i in range(60))
    file.Close()


def test_results_equal_running_the_bundle_by_hand(bundle, events_file, tmp_path, read):
    infer(bundle, events_file, tmp_path / "out.root", batch=16)
    results = read(tmp_path / "out.root")
    with open_events(events_file) as events:
        batch = next(events.batches(16))
    engine = bundle.backend("onnxruntime", options=RunOptions("cpu", 16, 1, 1))
    outputs = engine.run(batch.npho, batch.time, batch.dead)
    np.testing.assert_array_equal(results["energy"][:16], outputs["energy"][:, 0])
    np.testing.assert_array_equal(results["phi"][:16], outputs["angle"][:, 1])
    np.testing.assert_array_equal(results["n_dead"][:16], batch.dead.sum(axis=1))
    xyz = np.stack([results[axis] for axis in "xyz"], axis=-1)
    uvw = np.stack([results[axis] for axis in "uvw"], axis=-1)
    np.testing.assert_allclose(xyz, uvw_to_xyz(uvw), atol=1e-4)
    np.testing.assert_array_equal(results["event"], np.arange(130))
    assert (results["status"] == 0).all()


def test_results_are_near_the_truth(bundle, events_file, tmp_path, read):
    infer(bundle, events_file, tmp_path / "out.root", keep=["energyTruth", "uvwTruth"])
    results = read(tmp_path / "out.root")
    assert results["uvwTruth"].shape == (130, 3)
    relative = results["energy"] / results["energyTruth"] - 1
    assert np.median(np.abs(relative)) < 0.06
    assert np.median(np.abs(results["u"] - results["uvwTruth"][:, 0])) < 1.5
    assert np.median(np.abs(results["v"] - results["uvwTruth"][:, 1])) < 1.5


def test_what_cannot_be_computed_is_nan_with_its_status(bundle, events_file, tmp_path, read):
    with open_events(events_file) as events:
        batch = next(events.batches(5))
    npho, time = batch.npho.copy(), batch.time.copy()
    npho[1] = 1e10
    npho[2, :600] = np.nan
    npho[3, :100] = 1e10
    npho[4, 5] = 8e9
    path = write_events(tmp_path / "odd.root", npho, time)
    summary = infer(bundle, path, tmp_path / "out.root")
    results = read(tmp_path / "out.root")
    expected = [
        0,
        Status.TOO_MANY_DEAD | Status.NO_VALID_INPUT,
        Status.TOO_MANY_DEAD,
        0,
    ]
    assert results["status"][:4].tolist() == [int(flag) for flag in expected]
    usable = np.isfinite(results["energy"])
    assert usable[:4].tolist() == [True, False, False, True]
    # A channel of 8e9 photons is valid, but no training had one.
    assert results["status"][4] == int(Status.OUTSIDE_TRAINING)
    for name in VALUES:
        np.testing.assert_array_equal(np.isfinite(results[name]), usable)
    assert summary.files[0].status_counts["TOO_MANY_DEAD"] == 2


def test_dead_file_and_dead_branch_and_invalid_values_agree(bundle, events_file, tmp_path, read):
    with open_events(events_file) as events:
        batch = next(events.batches(40))
    dead = np.flatnonzero(batch.dead[0])
    listed = tmp_path / "dead.txt"
    listed.write_text("# dead channels\n" + "\n".join(map(str, dead)))
    filled = np.where(batch.dead, np.float32(55.0), batch.npho)
    filled_time = np.where(batch.dead, np.float32(0.0), batch.time)
    raw = write_events(tmp_path / "invalid.root", batch.npho, batch.time)
    live = write_events(tmp_path / "filled.root", filled, filled_time)
    infer(bundle, raw, tmp_path / "a.root")
    infer(bundle, live, tmp_path / "b.root", dead=str(listed))
    a, b = read(tmp_path / "a.root"), read(tmp_path / "b.root")
    for name in (*VALUES, "n_dead"):
        np.testing.assert_array_equal(a[name], b[name])
    infer(bundle, live, tmp_path / "c.root")
    assert (read(tmp_path / "c.root")["n_dead"] == 0).all()


@pytest.mark.parametrize("batch", [1, 7, 130, 1000])
def test_batch_size_does_not_change_physics(bundle, events_file, tmp_path, read, batch):
    infer(bundle, events_file, tmp_path / "a.root")
    infer(bundle, events_file, tmp_path / "b.root", batch=batch)
    a, b = read(tmp_path / "a.root"), read(tmp_path / "b.root")
    np.testing.assert_allclose(b["energy"], a["energy"], rtol=1e-5)
    np.testing.assert_allclose(b["u"], a["u"], atol=2e-4)


def test_finished_results_are_kept_and_others_never_overwritten(bundle, events_file, tmp_path):
    out = tmp_path / "out.root"
    assert infer(bundle, events_file, out).files[0].outcome == "done"
    before = out.read_bytes()
    assert infer(bundle, events_file, out).files[0].outcome == "skipped"
    different = infer(bundle, events_file, out, batch=8).files[0]
    assert different.outcome == "failed"
    assert "--force" in different.error
    assert out.read_bytes() == before
    assert infer(bundle, events_file, out, batch=8, force=True).files[0].outcome == "done"
    assert read_provenance(out)["batch"] == 8


def test_changed_input_is_noticed(bundle, events_file, tmp_path):
    source = tmp_path / "in.root"
    source.write_bytes(events_file.read_bytes())
    infer(bundle, source, tmp_path / "out.root")
    with open_events(events_file) as events:
        batch = next(events.batches(20))
    write_events(source, batch.npho, batch.time)
    assert infer(bundle, source, tmp_path / "out.root").files[0].outcome == "failed"


def test_provenance_says_what_was_done(bundle, events_file, tmp_path):
    infer(bundle, events_file, tmp_path / "out.root", dead="none")
    found = read_provenance(tmp_path / "out.root")
    assert found["input"]["path"] == str(events_file)
    assert found["input"]["bytes"] == events_file.stat().st_size
    assert found["input"]["branches"]["npho"] == "npho"
    assert found["bundle"]["name"] == bundle.manifest.name
    assert found["bundle"]["fp32_sha256"] == bundle.manifest.graphs["fp32"].canonical_sha256
    assert found["backend"]["name"] == "onnxruntime"
    assert found["precision"] == "fp32"
    assert set(found) >= {"dead_channels", "versions", "command", "started", "finished"}


def test_single_joins_in_order_and_leaves_bad_files_out(
    bundle, events_file, tmp_path, read, reference_root
):
    inputs = [events_file, reference_root / "truncated.root", reference_root / "one_event.root"]
    summary = infer(bundle, inputs, tmp_path / "all.root", single=True)
    assert [file.outcome for file in summary.files] == ["done", "failed", "done"]
    results = read(tmp_path / "all.root")
    assert len(results["run"]) == 131
    assert len(read_provenance(tmp_path / "all.root")["inputs"]) == 2


def test_all_inputs_bad_writes_nothing(bundle, tmp_path, reference_root):
    summary = infer(bundle, reference_root / "truncated.root", tmp_path / "out.root")
    assert len(summary.of("failed")) == 1
    assert list(tmp_path.iterdir()) == []


def test_outputs_never_collide(bundle, events_file, tmp_path):
    other = tmp_path / "events.root"
    other.write_bytes(events_file.read_bytes())
    with pytest.raises(UsageError, match="both be written"):
        infer(bundle, [events_file, other], tmp_path / "out")
    with pytest.raises(UsageError, match="--single"):
        infer(bundle, [events_file, other], tmp_path / "out.root")
    with pytest.raises(UsageError, match="one of the inputs"):
        infer(bundle, other, other, force=True)


def test_keep_refuses_a_name_that_is_taken(bundle, events_file, tmp_path):
    with pytest.raises(UsageError, match="event"):
        infer(bundle, events_file, tmp_path / "out.root", keep=["event"])


def test_other_names_and_missing_run_numbers(bundle, events_file, tmp_path, read):
    with open_events(events_file) as events:
        batch = next(events.batches(10))
    path = tmp_path / "named.root"
    with uproot.recreate(path) as file:
        tree = file.mktree("calib", {"light": ("f4", (4760,)), "when": ("f4", (4760,))})
        tree.extend({"light": batch.npho, "when": batch.time})
    names = {"npho_branch": "light", "time_branch": "when"}
    # The same batches: another size may round a value differently in the last bit.
    infer(bundle, path, tmp_path / "out.root", batch=10, **names)
    results = read(tmp_path / "out.root")
    assert (results["run"] == -1).all()
    assert results["event"].tolist() == list(range(10))
    infer(bundle, events_file, tmp_path / "same.root", batch=10)
    np.testing.assert_array_equal(results["u"], read(tmp_path / "same.root")["u"][:10])


def test_keep_in_joined_results(bundle, tmp_path, read, reference_root):
    names = ("no_events", "fixed_lz4", "vector_zstd")
    inputs = [reference_root / f"{name}.root" for name in names]
    out = tmp_path / "all.root"
    infer(bundle, inputs, out, single=True, keep=["relative_time", "uvwTruth"])
    joined = read(out)
    assert len(joined["run"]) == 120
    with open_events(inputs[1]) as events:
        expected = next(events.batches(60)).time
    for part in (joined["relative_time"][:60], joined["relative_time"][60:]):
        np.testing.assert_array_equal(part, expected)
    assert joined["uvwTruth"].shape == (120, 3)
    infer(bundle, inputs[1], tmp_path / "one.root")
    for name, values in read(tmp_path / "one.root").items():
        np.testing.assert_array_equal(joined[name][:60], values, err_msg=name)


def test_kept_branches_that_do_not_fit_leave_their_file_out(
    bundle, events_file, tmp_path, read, reference_root
):
    other = tmp_path / "other.root"
    with open_events(events_file) as events:
        batch = next(events.batches(3))
    with uproot.recreate(other) as file:
        types = {"npho": ("f4", (4760,)), "relative_time": ("f4", (4760,)), "uvwTruth": "f4"}
        tree = file.mktree("tree", types)
        tree.extend({"npho": batch.npho, "relative_time": batch.time, "uvwTruth": np.zeros(3)})
    inputs = [reference_root / "one_event.root", other]
    summary = infer(bundle, inputs, tmp_path / "all.root", single=True, keep=["uvwTruth"])
    assert [file.outcome for file in summary.files] == ["done", "failed"]
    assert "float32[3]" in summary.files[1].error
    assert len(read(tmp_path / "all.root")["run"]) == 1


def test_keep_has_the_type_of_the_branch_without_events(bundle, tmp_path, reference_root):
    out = tmp_path / "out.root"
    infer(bundle, reference_root / "no_events.root", out, keep=["uvwTruth", "npho"])
    with uproot.open(out) as file:
        assert file["xec"]["uvwTruth"].typename == "float[3]"
        assert file["xec"]["npho"].typename == "float[4760]"
        assert file["xec"].num_entries == 0


def test_joined_results_are_kept_like_others(bundle, tmp_path, reference_root):
    inputs = [reference_root / "one_event.root", reference_root / "fixed_lz4.root"]
    out = tmp_path / "all.root"
    infer(bundle, inputs, out, single=True)
    before = out.read_bytes()
    again = infer(bundle, inputs, out, single=True)
    assert [file.outcome for file in again.files] == ["skipped", "skipped"]
    with pytest.raises(UsageError, match="--force"):
        infer(bundle, inputs[:1], out, single=True)
    assert out.read_bytes() == before


def test_threads_do_not_make_finished_results_others(bundle, tmp_path, reference_root):
    source = reference_root / "one_event.root"
    infer(bundle, source, tmp_path / "out.root", threads=1)
    assert infer(bundle, source, tmp_path / "out.root", threads=2).files[0].outcome == "skipped"


def test_another_run_number_in_the_run_list_is_another_result(bundle, events_file, tmp_path, read):
    with open_events(events_file) as events:
        batch = next(events.batches(2))
    with uproot.recreate(tmp_path / "norun.root") as file:
        tree = file.mktree("tree", {"npho": ("f4", (4760,)), "relative_time": ("f4", (4760,))})
        tree.extend({"npho": batch.npho, "relative_time": batch.time})
    listed, out = tmp_path / "runs.txt", tmp_path / "out.root"
    listed.write_text("11 norun.root\n")
    infer(bundle, f"@{listed}", out)
    assert read(out)["run"].tolist() == [11, 11]
    assert infer(bundle, f"@{listed}", out).files[0].outcome == "skipped"
    listed.write_text("12 norun.root\n")
    assert infer(bundle, f"@{listed}", out).files[0].outcome == "failed"


def test_places_that_cannot_be_written(bundle, tmp_path, reference_root):
    source = reference_root / "one_event.root"
    (tmp_path / "notes.txt").write_text("keep")
    (tmp_path / "folder.root").mkdir()
    with pytest.raises(UsageError, match="not one ending in"):
        infer(bundle, source, tmp_path / "notes.txt")
    with pytest.raises(UsageError, match="this is a directory"):
        infer(bundle, source, tmp_path / "folder.root", force=True)
    blocked = infer(bundle, source, tmp_path / "notes.txt" / "out.root").files[0]
    assert blocked.outcome == "failed"
    assert "folder cannot be made" in blocked.error


def test_several_trees_of_a_file(bundle, events_file, tmp_path, read):
    source = tmp_path / "two.root"
    with open_events(events_file) as events:
        batch = next(events.batches(3))
    arrays = {"npho": batch.npho, "relative_time": batch.time}
    with uproot.recreate(source) as file:
        for name, count in (("day", 3), ("night", 2)):
            tree = file.mktree(name, dict.fromkeys(arrays, ("f4", (4760,))))
            tree.extend({branch: values[:count] for branch, values in arrays.items()})
    infer(bundle, [f"{source}:day", f"{source}:night"], tmp_path / "out")
    assert len(read(tmp_path / "out" / "two_day_xec.root")["u"]) == 3
    assert len(read(tmp_path / "out" / "two_night_xec.root")["u"]) == 2
    infer(bundle, [f"{source}:day", f"{source}:night"], tmp_path / "all.root", single=True)
    assert len(read(tmp_path / "all.root")["u"]) == 5


def test_a_bad_dead_channel_file_fails_its_run_only(bundle, events_file, tmp_path, reference_root):
    (tmp_path / "good.txt").write_text("1\n2\n")
    (tmp_path / "bad.txt").write_text("4760\n")
    with open_events(reference_root / "one_event.root") as events:
        good = int(next(events.batches(1)).run[0])
    with open_events(events_file) as events:
        bad = int(next(events.batches(1)).run[0])
    (tmp_path / "list.txt").write_text(f"{good} good.txt\n{bad} bad.txt\n")
    inputs = [reference_root / "one_event.root", events_file]
    summary = infer(bundle, inputs, tmp_path / "out", dead=str(tmp_path / "list.txt"))
    assert [file.outcome for file in summary.files] == ["done", "failed"]
    assert "bad.txt, line 1" in summary.files[1].error
