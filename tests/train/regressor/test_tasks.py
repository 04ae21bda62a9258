"""Every task and loss is trained, validated and saved."""

import csv
import json
import os
import signal

import numpy as np
import pytest
import torch

from xec_deploy.errors import BundleError, PartialFailure, UsageError
from xec_train.checkpoint import load_regressor, open_checkpoint, save_mae
from xec_train.models import XEC_MAE, MAEModelConfig
from xec_train.regressor import RegressorModule, train_regressor
from xec_train.regressor.metrics import task_metrics


def last_row(folder):
    with (folder / "metrics.csv").open() as stream:
        return [row for row in csv.DictReader(stream) if row["val_loss"]][-1]


def predictions(checkpoint, simulated, rows=slice(300, 340)):
    x = checkpoint.normalisation.apply(
        simulated["npho"][rows], simulated["relative_time"][rows], simulated["dead"][rows]
    )
    with torch.no_grad():
        return checkpoint.model(torch.from_numpy(x))


@pytest.fixture(scope="module")
def everything(small_config, tmp_path_factory):
    """A training of all tasks, each with another loss."""
    folder = tmp_path_factory.mktemp("everything")
    tasks = {
        "energy": {"loss_fn": "gaussian_nll", "loss_beta": 0.5, "log_transform": True},
        "timing": {"loss_fn": "gaussian_nll", "loss_beta": 0.2},
        "angle": {"loss_fn": "cosine"},
        "uvwFI": {"loss_fn": "huber"},
        "angleVec": {"loss_fn": "l1"},
        "n_gamma": {},
    }
    config = small_config(
        folder,
        tasks=tasks,
        loss_balance="auto",
        reweighting={"energy": {"enabled": True, "nbins": 4}, "angle": {"enabled": True}},
        training={"dead_fraction_max": 0.05, "dead_board_probability": 0.5},
    )
    return config, folder, train_regressor(config)


def test_all_tasks_are_logged(everything):
    config, folder, _ = everything
    row = last_row(folder)
    for task in config.active_tasks:
        assert np.isfinite(float(row[f"val_{task}"])), task
    assert float(row["val_angle_opening_68"]) > 0
    assert float(row["val_uvwFI_distance_68"]) > 0
    assert 0 <= float(row["val_n_gamma_accuracy"]) <= 1
    assert float(row["val_timing_0_pull"]) > 0
    assert float(row["val_uvwFI_2_bias"]) != 0


def test_all_tasks_come_back_in_physical_units(everything, simulated):
    _, _, best = everything
    loaded = load_regressor(best)
    assert loaded.log_transform == ("energy",)
    assert loaded.model.config.nll_tasks == ("energy", "timing")
    out = predictions(loaded, simulated)
    assert out["energy"].shape == (40, 2)
    assert 0.005 < out["energy"][:, 0].exp().median() < 0.2
    # A hardly trained model knows nothing but the spread, and says so.
    spread = np.std(simulated["timeTruth"][300:340])
    sigma = (0.5 * out["timing"][:, 1]).exp().median().item()
    assert 0.2 < sigma / spread < 5
    assert out["n_gamma"].shape == (40, 5)


def test_the_automatic_balance_is_learned_and_saved(everything):
    _, folder, _ = everything
    state = open_checkpoint(folder / "checkpoint_last.pth")["state_dict"]
    learned = {name: value for name, value in state.items() if name.startswith("balance.")}
    # Likelihoods need no weight.
    tasks = {name.rsplit(".", 1)[1] for name in learned}
    assert tasks == {"angle", "uvwFI", "angleVec", "n_gamma"}
    assert all(value != 0 for value in learned.values())


def test_a_resumed_regressor_is_the_uninterrupted_one(small_config, tmp_path, monkeypatch):
    tasks = {"energy": {"loss_scale": "spread"}, "angle": {"loss_scale": [0.3]}}
    sections = {"tasks": tasks, "data": {"num_workers": 1, "batch_size": 8}}
    train_regressor(small_config(tmp_path / "whole", **sections))
    loss = RegressorModule.training_loss
    batches = []

    def interrupted(self, batch):
        batches.append(batch)
        if len(batches) == 8:
            os.kill(os.getpid(), signal.SIGTERM)
        return loss(self, batch)

    with monkeypatch.context() as patch:
        patch.setattr(RegressorModule, "training_loss", interrupted)
        with pytest.raises(PartialFailure, match="after step 8"):
            train_regressor(small_config(tmp_path / "parts", **sections))
    last = tmp_path / "parts" / "checkpoint_last.pth"
    resume = {"save_dir": str(tmp_path / "parts"), "resume_from": str(last)}
    train_regressor(small_config(tmp_path / "parts", checkpoint=resume, **sections))
    whole, parts = (
        open_checkpoint(tmp_path / name / "checkpoint_last.pth") for name in ("whole", "parts")
    )
    assert whole["global_step"] == parts["global_step"] == 12
    for name, tensor in whole["state_dict"].items():
        assert torch.equal(tensor, parts["state_dict"][name]), name


def test_a_regressor_starts_from_the_weights_of_another(everything, small_config, tmp_path):
    _, _, best = everything
    start = {"save_dir": str(tmp_path), "resume_from": str(best), "reset_epoch": True}
    tasks = {"timing": {"loss_fn": "gaussian_nll"}, "uvwFI": {}, "energy": {}}
    frozen = {"lr": 1e-30, "weight_decay": 0.0, "epochs": 1, "ema_decay": None}
    config = small_config(tmp_path, tasks=tasks, checkpoint=start, training=frozen)
    theirs, mine = load_regressor(best).model, load_regressor(train_regressor(config)).model
    kept = ("backbone.", "heads.timing.", "heads.uvwFI.")
    for name, tensor in theirs.state_dict().items():
        if name.startswith(kept):
            torch.testing.assert_close(mine.state_dict()[name], tensor, rtol=1e-5, atol=1e-6)
    # Energy was learned as a logarithm there: its head is new.
    last = "heads.energy.6.weight"
    assert mine.state_dict()[last].shape != theirs.state_dict()[last].shape


def test_a_regressor_starts_from_the_encoder_of_an_mae(small_config, tmp_path):
    config = small_config(tmp_path / "run", tasks={"energy": {}}, training={"epochs": 1})
    encoder = config.network().model_dump(include=set(MAEModelConfig.model_fields))
    from xec_deploy.detector import get_layout

    torch.manual_seed(0)
    mae = XEC_MAE(MAEModelConfig(**encoder), get_layout("physical"), config.normalization)
    save_mae(tmp_path / "mae.pth", mae)
    start = {"save_dir": str(tmp_path / "run"), "resume_from": str(tmp_path / "mae.pth")}
    still = {"epochs": 1, "lr": 1e-30, "weight_decay": 0.0, "ema_decay": None}
    config = small_config(tmp_path, tasks={"energy": {}}, checkpoint=start, training=still)
    loaded = load_regressor(train_regressor(config))
    for name, tensor in mae.encoder.state_dict().items():
        torch.testing.assert_close(loaded.model.backbone.state_dict()[name], tensor, msg=name)
    other = {"npho_scheme": "log1p"}
    config = small_config(tmp_path, tasks={"energy": {}}, checkpoint=start, normalization=other)
    with pytest.raises(BundleError, match="normalised otherwise: npho_scheme"):
        train_regressor(config)


def test_a_training_of_the_research_code_cannot_be_continued(legacy, small_config, tmp_path):
    files = sorted(legacy.glob("*.pth")) + sorted(legacy.glob("*.pt"))
    regressors = [
        path
        for path in files
        if "optimizer_state_dict" in open_checkpoint(path)
        and any(n.startswith("heads.") for n in open_checkpoint(path)["model_state_dict"])
    ]
    if not regressors:
        pytest.skip("no training state among the reference checkpoints")
    start = {"save_dir": str(tmp_path / "run"), "resume_from": str(regressors[0])}
    with pytest.raises(UsageError, match=r"where in the data.*checkpoint\.reset_epoch"):
        train_regressor(small_config(tmp_path, tasks={"energy": {}}, checkpoint=start))


@pytest.mark.slow
def test_a_training_ends_with_an_evaluation_and_a_bundle(small_config, tmp_path):
    config = small_config(
        tmp_path,
        tasks={"energy": {}, "n_gamma": {}},
        training={"epochs": 1},
        checkpoint={"save_dir": str(tmp_path), "save_artifacts": True},
        export={"bundle": "small.xec"},
    )
    train_regressor(config)
    names = {path.name for path in (tmp_path / "evaluation").iterdir()}
    assert {"metrics.json", "predictions_best.root", "index.html"} <= names
    metrics = json.loads((tmp_path / "evaluation" / "metrics.json").read_text())
    assert metrics["n_gamma"]["best"]
    assert (tmp_path / "small.xec" / "manifest.json").is_file()


def test_metrics_of_a_known_sample():
    rng = np.random.default_rng(0)
    truth = rng.uniform(-20, 20, (4000, 3))
    error = rng.normal([0.1, 0.0, -0.2], [0.5, 1.0, 2.0], (4000, 3))
    sigma = np.log(np.full((4000, 3), [0.25, 1.0, 16.0]))
    metrics = task_metrics("uvwFI", np.concatenate([truth + error, sigma], axis=1), truth)
    # The central 68 % of a Gaussian reach 0.9945 sigma.
    assert metrics["uvwFI_0_res"] == pytest.approx(0.5 * 0.9945, rel=0.05)
    assert metrics["uvwFI_2_bias"] == pytest.approx(-0.2, abs=0.1)
    assert metrics["uvwFI_1_pull"] == pytest.approx(0.9945, rel=0.05)
    assert metrics["uvwFI_2_pull"] == pytest.approx(0.9945 / 2, rel=0.05)
    expected = np.quantile(np.linalg.norm(error, axis=1), 0.68)
    assert metrics["uvwFI_distance_68"] == pytest.approx(expected)


def test_opening_angles():
    truth = np.array([[90.0, 10.0], [90.0, 10.0], [60.0, 0.0]])
    prediction = np.array([[90.0, 10.001], [90.5, 10.0], [60.0, 1.0]])
    metrics = task_metrics("angle", prediction, truth)
    openings = [0.001, 0.5, np.sin(np.deg2rad(60))]
    expected = np.quantile(openings, 0.68)
    assert metrics["angle_opening_68"] == pytest.approx(expected, rel=1e-3)


def test_classes_are_counted():
    logits = np.eye(5)[[0, 1, 1, 4]]
    metrics = task_metrics("n_gamma", logits, np.array([[0.0], [1.0], [2.0], [4.0]]))
    assert metrics == {"n_gamma_accuracy": 0.75}
