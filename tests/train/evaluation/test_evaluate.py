"""An evaluation from files to files."""

import csv
import json
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
import uproot
from click.testing import CliRunner

from xec_deploy.errors import BundleError, InputError, UsageError
from xec_deploy.events import open_events
from xec_deploy.export.graph import DeployedRegressor
from xec_train.checkpoint import load_regressor
from xec_train.cli.evaluate import evaluate
from xec_train.evaluation import EvaluationConfig, evaluate_files, evaluate_model
from xec_train.evaluation.files import calibrate_conventional
from xec_train.evaluation.methods import open_network

from .toys import batches


@pytest.fixture(scope="module")
def metrics(evaluated):
    return json.loads(evaluated.metrics_file.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def predictions(evaluated):
    with uproot.open(evaluated.predictions["every"]) as file:
        return file["predictions"].arrays(library="np"), {
            branch.name: branch.title for branch in file["predictions"].branches
        }


def test_predictions_are_those_of_the_exported_module(predictions, sample_files, networks):
    rows, titles = predictions
    loaded = load_regressor(networks[0])
    module = DeployedRegressor(loaded.model, loaded.normalisation, loaded.log_transform).eval()
    with open_events(sample_files[0], keep=["energyTruth"]) as file:
        batch = next(file.batches(160))
    with torch.no_grad():
        outputs = module(*(torch.from_numpy(a) for a in (batch.npho, batch.time, batch.dead)))
    named = dict(
        zip(
            ("angle", "energy", "energy_sigma", "timing", "uvwFI", "uvw_sigma"),
            outputs,
            strict=False,
        )
    )
    np.testing.assert_array_equal(rows["run"][:160], batch.run)
    np.testing.assert_array_equal(rows["event"][:160], batch.event)
    np.testing.assert_array_equal(rows["n_dead"][:160], batch.dead.sum(axis=1))
    np.testing.assert_allclose(rows["energy"][:160], named["energy"][:, 0], rtol=1e-5)
    np.testing.assert_allclose(rows["energy_sigma"][:160], named["energy_sigma"][:, 0], rtol=1e-5)
    np.testing.assert_allclose(rows["w"][:160], named["uvwFI"][:, 2], rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(rows["energy_truth"][:160], batch.extra["energyTruth"])
    assert len(rows["run"]) == 280
    assert titles["energy_sigma"] == "energy_sigma [GeV]"
    assert titles["u_fit"] == "u_fit [cm]"
    assert titles["theta_truth"] == "theta_truth [deg]"
    assert rows["n_gamma"].dtype == np.int32


def test_csv_is_the_same(evaluated, predictions):
    rows, _ = predictions
    path = evaluated.predictions["every"].with_suffix(".csv")
    with path.open(encoding="utf-8") as file:
        head, *body = csv.reader(file)
    assert "energy [GeV]" in head
    assert len(head) == len(rows)
    column = head.index("v_truth [cm]")
    values = np.array([float(line[column]) for line in body], dtype=np.float32)
    np.testing.assert_array_equal(values, rows["v_truth"])


def test_provenance_says_what_was_evaluated(evaluated, networks, sample_files):
    with uproot.open(evaluated.predictions["lone"]) as file:
        content = json.loads(str(file["provenance"]))
    assert content["network"] == "lone"
    assert content["networks"]["lone"]["path"] == networks[1]
    assert len(content["networks"]["lone"]["sha256"]) == 64
    assert content["inputs"] == sample_files
    assert content["simulation"]["seed"] == 11


def test_metrics(metrics):
    assert metrics["events"] == 280
    fiducial = metrics["resolution"]["fiducial"]
    every = {"energy", "timing", "u", "v", "w", "theta", "phi", "opening"}
    assert set(fiducial["every"]) == every
    assert set(fiducial["lone"]) == {"energy"}
    assert set(fiducial["fit_raw"]) == {"u", "v", "w"}
    assert set(fiducial["fit"]) == {"u", "v", "w", "theta", "phi"}
    assert metrics["resolution"]["all"]["simple"]["u"]["n"] == 280
    assert set(metrics["ratio"]["every"]) == {"simple", "fit"}
    assert set(metrics["ratio"]["lone"]["simple"]) == {"energy"}
    assert set(metrics["ratio"]["lone"]["every"]) == {"energy"}
    assert set(metrics["profiles"]) == {"energy", "u", "v", "w"}
    assert [point["fraction"] for point in metrics["dead"]["simple"]["u"]] == [0.0, 0.1]
    assert metrics["dead"]["simple"]["u"][0]["loss"]["value"] == 1.0
    assert set(metrics["pulls"]["every"]) == {"energy", "u", "v", "w"}
    assert sum(map(sum, metrics["n_gamma"]["every"]["matrix"])) == 280
    assert metrics["throughput"]["lone"]["events_per_second"] > 0
    assert metrics["provenance"]["networks"]["lone"]["parameters"] > 1000


def test_limits_of_the_files_simulation(metrics):
    limit = metrics["limit"]["fiducial"]
    assert 1.6 < limit["energy"] < 1.8
    assert 50 < limit["timing"] < 75
    assert metrics["dead"]["every"]["timing"][1]["limit"] > limit["timing"]


def test_the_fit_is_corrected(metrics):
    """The middle of the light is behind the first interaction; corrected it is not."""
    raw, corrected = (metrics["resolution"]["fiducial"][name]["w"] for name in ("fit_raw", "fit"))
    assert raw["bias"] > 10
    assert abs(corrected["bias"]) < 2
    assert any("other half" in note for note in metrics["notes"])


def test_worst_events_are_in_the_file(metrics, predictions):
    rows, _ = predictions
    worst = metrics["worst"]["every"]["v"][0]
    (row,) = np.flatnonzero((rows["run"] == worst["run"]) & (rows["event"] == worst["event"]))
    residual = 10 * (rows["v"][row] - rows["v_truth"][row])
    assert worst["residual"]["v"] == pytest.approx(residual, rel=1e-4)
    inside = (np.abs(rows["u_truth"]) < 23.9) & (np.abs(rows["v_truth"]) < 67.9)
    assert np.abs(rows["v"] - rows["v_truth"])[inside].max() * 10 == pytest.approx(
        abs(residual), rel=1e-4
    )


class Links(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.sources, self.open = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.sources += [value for name, value in attrs if name in ("src", "href")]
        if tag not in ("meta", "img", "br", "link"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_is_whole_and_self_contained(evaluated):
    text = evaluated.page.read_text(encoding="utf-8")
    page = Links(text)
    assert page.open == []
    assert len(page.sources) == len(evaluated.figures)
    assert all(source.startswith("data:image/png;base64,") for source in page.sources)
    for word in ("every", "lone", "position fit, uncorrected", "limit of the simulation"):
        assert word in text
    assert "nan" not in text.replace("nanosecond", "").lower().split()


def test_plots(evaluated):
    names = {figure.name for figure in evaluated.figures}
    assert names >= {
        "residuals",
        "ratio_simple",
        "ratio_fit",
        "resolution_energy",
        "resolution_u",
        "resolution_v",
        "resolution_depth",
        "bias_energy",
        "bias_depth",
        "dead_channels",
        "speed",
        "pulls",
        "calibration",
        "n_gamma",
        "truth_every",
    }
    for figure in evaluated.figures:
        assert figure.png.stat().st_size > 10_000
        assert figure.pdf.is_file()


def test_a_trainer_evaluates_its_model_on_few_events(networks, tmp_path):
    loaded = load_regressor(networks[1])
    done = evaluate_model(
        loaded.model,
        loaded.normalisation,
        loaded.log_transform,
        batches(60),
        tmp_path / "end",
        name="mine",
        config=EvaluationConfig(replicas=0, throughput_seconds=0),
        provenance={"recipe": "none"},
    )
    assert done.page.is_file()
    assert done.summary.resolution["fiducial"]["mine"]["energy"].n == done.summary.fiducial_events
    content = json.loads(done.metrics_file.read_text(encoding="utf-8"))
    assert content["provenance"]["recipe"] == "none"
    assert content["limit"]["all"] == {}
    # Events without light have no conventional estimates, which must not spoil the rest.
    assert content["resolution"]["all"]["simple"]["u"]["excluded"] == 60
    assert any("position fit is not corrected" in note for note in content["notes"])


def test_calibration_on_other_events(sample_files, tmp_path, networks):
    config = EvaluationConfig(replicas=0, throughput_seconds=0, csv=False)
    calibration = calibrate_conventional(sample_files, config)
    assert calibration.constants.origin["files"] == sample_files
    assert calibration.correction.n == 280
    done = evaluate_files(
        [networks[1]],
        sample_files[1:],
        tmp_path,
        config=config,
        calibration_data=sample_files,
    )
    content = json.loads(done.metrics_file.read_text(encoding="utf-8"))
    assert any("280 calibration events" in note for note in content["notes"])
    assert content["position_correction"]["n"] == 280


def test_files_without_truth(write_events, tmp_path, networks):
    bare = write_events(tmp_path / "bare.root", slice(0, 5), energyTruth=None, uvwTruth=None)
    with pytest.raises(
        InputError, match=r"no truth of energy, uvwFI.*bare.root|bare.root: no truth"
    ):
        evaluate_files([networks[1]], [bare], tmp_path / "out")


def test_what_is_no_network(tmp_path):
    cpu = torch.device("cpu")
    with pytest.raises(BundleError, match="no such file"):
        open_network(str(tmp_path / "none.pth"), device=cpu)
    folder = tmp_path / "b.xec"
    folder.mkdir()
    with pytest.raises(BundleError):
        open_network(str(folder), device=cpu)
    with pytest.raises(UsageError, match="on the CPU"):
        open_network(str(folder), device=torch.device("meta"))


def test_equal_stems_are_told_apart():
    from xec_train.evaluation.files import _names

    assert _names(["a/best.pth", "b/best.pth"]) == ["a_best", "b_best"]
    assert _names(["a/one.pth", "a/two.pth"]) == ["one", "two"]


def test_command(sample_files, networks, tmp_path):
    settings = tmp_path / "settings.yaml"
    settings.write_text("replicas: 0\nthroughput_seconds: 0\n", encoding="utf-8")
    result = CliRunner().invoke(
        evaluate,
        [
            networks[1],
            *("--data", *sample_files),
            *("-o", str(tmp_path / "out")),
            *("--config", str(settings)),
            *("--against", "simple", "--max-events", "200", "--batch", "64"),
        ],
        catch_exceptions=False,
    )
    assert result.exit_code == 0, result.output
    content = json.loads((tmp_path / "out" / "metrics.json").read_text(encoding="utf-8"))
    assert content["events"] == 200
    assert content["provenance"]["config"]["batch_size"] == 64
    assert str(tmp_path / "out" / "index.html") in result.output


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--dead-fractions", "0,2"], "dead_fractions"),
        (["--set", "replica=3"], "replicas"),
        (["--device", "nowhere"], "nowhere"),
    ],
)
def test_wrong_options(options, words, networks, sample_files, tmp_path):
    arguments = [networks[1], "--data", sample_files[0], "-o", str(tmp_path / "out"), *options]
    with pytest.raises(UsageError, match=words):
        CliRunner().invoke(evaluate, arguments, catch_exceptions=False)
    assert not (tmp_path / "out").exists()
