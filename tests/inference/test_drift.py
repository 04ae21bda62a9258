"""Events unlike those of the training are flagged, and a run is compared with them."""

import dataclasses

import numpy as np
import pytest

from xec_deploy import infer
from xec_deploy.cli.infer import print_summary
from xec_deploy.errors import BundleError
from xec_deploy.events import EventWriter, open_events
from xec_deploy.inference import Status, infer_range, join_ranges
from xec_deploy.normalisation.input_range import (
    Drift,
    InputRange,
    event_quantities,
    measure_input_range,
)

OPTIONS = {"batch": 16, "sessions": 1, "threads": 1, "backend": "onnxruntime"}


@pytest.fixture
def knowing(bundle, events_file):
    """The bundle, as if it had been trained on the events of the file."""
    with open_events(events_file) as events:
        batch = next(events.batches(130))
    threshold = bundle.manifest.normalisation.npho_threshold
    known = measure_input_range([(batch.npho, batch.time, batch.dead)], threshold)
    training = {**bundle.manifest.training, "input_range": known.model_dump(mode="json")}
    manifest = bundle.manifest.model_copy(update={"training": training})
    return dataclasses.replace(bundle, manifest=manifest, _backends={})


def test_quantities_of_an_event():
    npho, time = np.zeros((2, 4760), np.float32), np.full((2, 4760), 1e10, np.float32)
    npho[0, :4], time[0, :2] = [500, 300, np.nan, 1e10], [3e-9, 5e-9]
    dead = np.zeros(npho.shape, bool)
    dead[1] = True
    found = event_quantities(npho, time, dead, 100.0)
    assert found["light"].tolist() == [800, 0]
    assert found["brightest"].tolist() == [500, 0]
    assert found["timed"].tolist() == [2, 0]
    assert found["mean_time"][0] == pytest.approx(4)
    assert np.isnan(found["mean_time"][1])


def test_events_like_the_training_are_not_flagged(
    bundle, knowing, events_file, tmp_path, read, capsys
):
    summary = infer(knowing, events_file, tmp_path / "out.root", **OPTIONS)
    assert (read(tmp_path / "out.root")["status"] == 0).all()
    assert (summary.drift["events"], summary.drift["outside"]) == (130, 0)
    for entry in summary.drift["quantities"].values():
        assert entry["shift"] == pytest.approx(0, abs=1e-6)
    print_summary(summary)
    assert "0 of 130 outside their range; means shifted by light " in capsys.readouterr().out
    training = {**bundle.manifest.training, "input_range": None}
    manifest = bundle.manifest.model_copy(update={"training": training})
    ignorant = dataclasses.replace(bundle, manifest=manifest, _backends={})
    assert infer(ignorant, events_file, tmp_path / "plain.root", **OPTIONS).drift == {}


def test_brighter_events_are_flagged_and_keep_their_values(knowing, events_file, tmp_path, read):
    with open_events(events_file) as events:
        batch = next(events.batches(20))
    npho = batch.npho.copy()
    npho[5] *= 40
    path = tmp_path / "bright.root"
    with EventWriter(path) as writer:
        numbers = {"run": batch.run, "event": batch.event}
        writer.extend({**numbers, "npho": npho, "relative_time": batch.time})
        writer.commit()
    summary = infer(knowing, path, tmp_path / "out.root", **OPTIONS)
    found = read(tmp_path / "out.root")
    assert np.flatnonzero(found["status"] & Status.OUTSIDE_TRAINING).tolist() == [5]
    assert np.isfinite(found["energy"][5])
    assert summary.drift["outside"] == 1
    assert summary.files[0].status_counts == {"OUTSIDE_TRAINING": 1}
    assert summary.drift["quantities"]["light"]["shift"] > 0.5


def test_sums_do_not_depend_on_portions(knowing):
    known = InputRange.model_validate(knowing.manifest.training["input_range"])
    rng = np.random.default_rng(1)
    values = {name: rng.exponential(1e4, 200) for name in known.quantities}
    values["light"][:5] = [4e13, np.nan, -1e-9, 1e-300, 3e13]
    whole, parts = Drift(known), Drift(known)
    whole.add(known.counts(values))
    for part in np.split(rng.permutation(200), [7, 50, 51]):
        parts.add(known.counts({name: numbers[part] for name, numbers in values.items()}))
    assert whole.to_dict() == parts.to_dict()
    mean = np.nanmean(values["light"])
    assert whole.to_dict()["quantities"]["light"]["mean"] == pytest.approx(mean)


def test_events_from_before_a_stop_are_compared_as_well(knowing, events_file, tmp_path):
    whole = infer(knowing, events_file, tmp_path / "whole.root", **OPTIONS).drift
    out = tmp_path / "out.root"
    infer_range(knowing, events_file, out, (0, 64), **OPTIONS)
    infer_range(knowing, events_file, out, (64, 130), **OPTIONS)
    joined = join_ranges(knowing, events_file, out, [(0, 64), (64, 130)], **OPTIONS)
    assert joined.drift == whole
    assert "packed" not in joined.to_dict()


def test_a_range_that_is_none(knowing, events_file, tmp_path):
    training = {"input_range": {"events": 0, "quantities": {}}}
    manifest = knowing.manifest.model_copy(update={"training": training})
    wrong = dataclasses.replace(knowing, manifest=manifest, _backends={})
    with pytest.raises(BundleError, match=r"training\.input_range"):
        infer(wrong, events_file, tmp_path / "out.root", **OPTIONS)
