"""The forms of results: the research script's tree, RNTuple, joined files, filled channels."""

import numpy as np
import pytest
import uproot

from xec_deploy import infer
from xec_deploy.errors import InputError, UsageError
from xec_deploy.events import EventWriter, open_events
from xec_deploy.inference import Status
from xec_deploy.inference.duplicates import DuplicateFinder
from xec_deploy.inference.merge import merge
from xec_deploy.inference.provenance import read_provenance

OPTIONS = {"batch": 16, "sessions": 1, "threads": 1, "backend": "onnxruntime"}
LEGACY = (
    "run_id event_id pred_theta pred_phi true_theta true_phi opening_angle pred_energy true_energy "
    "pred_timing true_timing pred_u pred_v pred_w true_u true_v true_w x_vtx y_vtx z_vtx"
)


def test_legacy_style_has_the_branches_of_the_research_script(bundle, events_file, tmp_path, read):
    infer(bundle, events_file, tmp_path / "new.root", **OPTIONS)
    infer(bundle, events_file, tmp_path / "old.root", style="legacy", **OPTIONS)
    new, old = read(tmp_path / "new.root"), read(tmp_path / "old.root", tree="val_tree")
    assert sorted(old) == sorted(LEGACY.split())
    assert {str(old[name].dtype) for name in ("run_id", "event_id")} == {"int32"}
    assert old["pred_u"].dtype == np.float32
    for name in ("theta", "phi", "energy", "timing", "u", "v", "w"):
        np.testing.assert_array_equal(old[f"pred_{name}"], new[name])
    with open_events(events_file, keep=["uvwTruth", "emiAng", "energyTruth"]) as events:
        truth = next(events.batches(130)).extra
    np.testing.assert_array_equal(old["true_v"], truth["uvwTruth"][:, 1])
    np.testing.assert_array_equal(old["true_theta"], truth["emiAng"][:, 0])
    np.testing.assert_array_equal(old["true_energy"], truth["energyTruth"])
    directions = []
    for side in ("pred", "true"):
        theta, phi = (np.radians(np.float64(old[f"{side}_{name}"])) for name in ("theta", "phi"))
        directions.append([np.sin(theta) * np.cos(phi), np.sin(theta) * np.sin(phi), np.cos(theta)])
    cosine = np.sum(np.multiply(*directions), axis=0)
    np.testing.assert_allclose(old["opening_angle"], np.degrees(np.arccos(cosine)), rtol=1e-4)


def test_legacy_truth_that_is_not_there_is_nan(bundle, tmp_path, read, reference_root):
    infer(bundle, reference_root / "one_event.root", tmp_path / "o.root", style="legacy", **OPTIONS)
    found = read(tmp_path / "o.root", tree="val_tree")
    assert np.isnan(found["true_timing"]).all()
    assert np.isnan(found["x_vtx"]).all()
    assert np.isfinite(found["true_u"]).all()


def test_rntuple_has_the_same_values_for_root_too(bundle, events_file, tmp_path, read, root_module):
    options = {**OPTIONS, "keep": ["uvwTruth"]}
    infer(bundle, events_file, tmp_path / "t.root", **options)
    infer(bundle, events_file, tmp_path / "n.root", format="rntuple", **options)
    expected, found = read(tmp_path / "t.root"), read(tmp_path / "n.root")
    for name, values in expected.items():
        np.testing.assert_array_equal(np.stack(found[name]), values)
    reader = root_module.RNTupleReader.Open("xec", str(tmp_path / "n.root"))
    assert reader.GetNEntries() == 130
    frame = root_module.RDataFrame("xec", str(tmp_path / "n.root")).AsNumpy(["energy"])
    np.testing.assert_array_equal(frame["energy"], expected["energy"])
    assert infer(bundle, events_file, tmp_path / "n.root", format="rntuple", **options).files[
        0
    ].outcome == ("skipped")


@pytest.mark.parametrize("form", [{}, {"style": "legacy"}, {"format": "rntuple"}])
def test_merged_results_are_those_of_single(bundle, tmp_path, read, reference_root, form):
    inputs = [reference_root / f"{name}.root" for name in ("one_event", "fixed_lz4")]
    options = {**OPTIONS, **form, "keep": ["uvwTruth"]}
    infer(bundle, inputs, tmp_path / "out", **options)
    infer(bundle, inputs, tmp_path / "single.root", single=True, **options)
    parts = [tmp_path / "out" / f"{path.stem}_xec.root" for path in inputs]
    done = merge(parts, tmp_path / "all.root")
    assert (done.files, done.inputs, done.entries) == (2, 2, 61)
    tree = "val_tree" if "style" in form else "xec"
    expected = read(tmp_path / "single.root", tree)
    for name, values in read(tmp_path / "all.root", tree).items():
        np.testing.assert_array_equal(np.stack(values), np.stack(expected[name]))
    provenance = read_provenance(tmp_path / "all.root")
    assert [record["entries"] for record in provenance["inputs"]] == [1, 60]
    assert [record["entries"] for record in provenance["merged"]] == [1, 60]
    if not form:
        with uproot.open(tmp_path / "all.root") as file:
            assert file["xec"]["energy"].title == "energy [GeV]"


def test_merge_refuses_what_does_not_belong_together(bundle, events_file, tmp_path, reference_root):
    one, two, three = (tmp_path / f"{name}.root" for name in ("one", "two", "three"))
    source = reference_root / "one_event.root"
    infer(bundle, events_file, one, **OPTIONS)
    infer(bundle, source, two, **{**OPTIONS, "batch": 4})
    infer(bundle, source, three, dead="none", **OPTIONS)
    out = tmp_path / "all.root"
    with pytest.raises(UsageError, match=r"two\.root: made with another batch than .*--mixed"):
        merge([one, two], out)
    assert merge([one, two], out, mixed=True).entries == 131
    with pytest.raises(UsageError, match="the output exists"):
        merge([one, two], out)
    with pytest.raises(UsageError, match="another dead_channels"):
        merge([one, three], out, mixed=True, force=True)
    with pytest.raises(UsageError, match=r"events\.root is in .*one\.root as well"):
        merge([one, out], tmp_path / "twice.root", mixed=True)
    with pytest.raises(InputError, match="no complete result file"):
        merge([one, source], out, force=True)


@pytest.mark.parametrize("way", ["neighbours", "solid-angle"])
def test_filled_channels_are_counted_and_recorded(bundle, events_file, tmp_path, read, way):
    infer(bundle, events_file, tmp_path / "plain.root", **OPTIONS)
    infer(bundle, events_file, tmp_path / "filled.root", inpaint=way, **OPTIONS)
    plain, filled = read(tmp_path / "plain.root"), read(tmp_path / "filled.root")
    assert (plain["n_inpainted"] == 0).all()
    np.testing.assert_array_equal(filled["n_dead"], plain["n_dead"])
    assert (filled["n_inpainted"] <= filled["n_dead"]).all()
    assert (filled["n_inpainted"] > 0.9 * filled["n_dead"]).all()
    assert (filled["status"] & Status.INPAINTED == Status.INPAINTED).all()
    assert (filled["energy"] != plain["energy"]).any()
    assert read_provenance(tmp_path / "filled.root")["inpainting"] == way
    (other,) = infer(bundle, events_file, tmp_path / "filled.root", **OPTIONS).files
    assert "another inpainting" in other.error


def test_events_that_come_twice_are_reported(bundle, tmp_path, events_file, caplog):
    with open_events(events_file) as events:
        batch = next(events.batches(10))
    path = tmp_path / "again.root"
    with EventWriter(path) as writer:
        numbers = {"run": batch.run, "event": batch.event}
        writer.extend({**numbers, "npho": batch.npho, "relative_time": batch.time})
        writer.commit()
    summary = infer(bundle, [events_file, path], tmp_path / "out", **OPTIONS)
    assert summary.duplicates["count"] == 10
    assert summary.duplicates["examples"][0][1:] == (0, str(path))
    assert "10 events come more than once" in caplog.text
    alone = infer(bundle, path, tmp_path / "alone.root", **OPTIONS)
    assert alone.duplicates == {"count": 0, "examples": [], "complete": True}


def test_the_search_for_duplicates_has_a_limit():
    finder = DuplicateFinder()
    finder.add(np.array([1, 1, 1, 2]), np.array([3, 3, 10**6, 3]), "a.root")
    assert finder.count == 1
    finder.add(np.array([1]), np.array([10**6]), "b.root")
    assert (finder.count, finder.complete) == (2, True)
    finder.add(np.array([1]), np.array([10**12]), "c.root")
    assert not finder.complete


def test_duplicates_of_many_machines_are_added_up():
    rng = np.random.default_rng(1)
    whole, merged = DuplicateFinder(), DuplicateFinder()
    for path in ("a.root", "b.root", "c.root"):
        run, event = rng.integers(1, 3, 3000), np.sort(rng.integers(0, 10**5, 3000))
        alone = DuplicateFinder()
        for finder in (whole, alone):
            finder.add(run, event, path)
        merged.merge(alone.packed())
    assert whole.count > 100
    assert merged.to_dict() == whole.to_dict()
