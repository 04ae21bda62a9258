"""A real training of the inpainter, tiny: it learns, resumes, and starts from an encoder."""

import csv

import numpy as np
import pytest
import torch
import uproot

from xec_deploy.detector import get_layout
from xec_deploy.errors import BundleError, UsageError
from xec_deploy.normalisation import Normalisation
from xec_train.checkpoint import load_inpainter, save_mae
from xec_train.config import InpainterConfig
from xec_train.config.inpainter import InpainterTraining
from xec_train.inpainter import train_inpainter
from xec_train.inpainter.losses import Hidden, SensorLoss
from xec_train.models import MAEModelConfig, build_mae

NORMALISATION = {
    "npho_scheme": "sqrt",
    "time_scale": 1e-8,
    "time_shift": 0.0,
    "sentinel_time": -2.0,
}
RESEARCH = {
    "encoder_dim": 32,
    "hex_channels": 8,
    "num_fusion_layers": 1,
    "layout": "physical",
    "outer_fine_pool": [3, 3],
    "head_type": "cross_attention",
    "cross_attn_hidden": 8,
    "cross_attn_latent_dim": 8,
    "cross_attn_pos_dim": 6,
    "predict_channels": ["npho", "time"],
}


@pytest.fixture(scope="module")
def configured(files, validation_file):
    def configured(save_dir, *, model=None, checkpoint=None, events=None, **training):
        return InpainterConfig.model_validate(
            {
                "data": {
                    "train_path": files,
                    "val_path": [validation_file],
                    "batch_size": 16,
                    "train_events": events,
                    "val_events": 40,
                    "num_workers": 0,
                },
                "normalization": NORMALISATION,
                "model": {
                    "arch": "xec",
                    "xec": {"width": 8, "context_width": 8},
                    "mask_ratio": 0.1,
                    "mask_ratio_min": 0.0,
                    **(model or {}),
                },
                "training": {
                    "epochs": 2,
                    "lr": 1e-2,
                    "loss_units": "statistics",
                    "loss_fn": "mse",
                    "dead_board_probability": 0.5,
                    "accelerator": "cpu",
                    **training,
                },
                "checkpoint": {"save_dir": str(save_dir), **(checkpoint or {})},
                "mlflow": {"enabled": False},
            }
        )

    return configured


@pytest.fixture(scope="module")
def trained(configured, tmp_path_factory):
    config = configured(tmp_path_factory.mktemp("inpainter"), ema_decay=0.8)
    return config, train_inpainter(config)


def rows(config):
    with (config.directory / "metrics.csv").open(encoding="utf-8") as file:
        return [row for row in csv.DictReader(file) if row["val_loss"]]


def test_it_learns(trained):
    config, _ = trained
    first, last = rows(config)
    assert float(last["val_loss"]) < float(first["val_loss"])
    assert float(last["val_inner_pull"]) < 2.0
    assert float(last["val_npho_rmse"]) > 0


def test_the_checkpoint_is_an_inpainter(trained):
    config, best = trained
    loaded = load_inpainter(best)
    assert loaded.weights == "ema"
    assert loaded.model.config == config.network()
    assert loaded.normalisation == config.normalization
    assert loaded.model.mean.abs().max() > 0


def test_predictions_are_of_valid_hidden_sensors(trained, simulated):
    config, _ = trained
    path = config.directory / "inpainter_predictions_best.root"
    found = uproot.open(path)["tree"].arrays(library="np")
    event = 300 + found["event_idx"]
    truth = simulated["npho"][event, found["sensor_id"]]
    np.testing.assert_array_equal(found["truth_npho"], truth)
    assert not simulated["dead"][event, found["sensor_id"]].any()
    np.testing.assert_allclose(
        found["error_npho"], found["pred_npho"] - truth, rtol=1e-5, atol=1e-3
    )
    assert set(found["face"]) == set(range(6))


def test_a_resumed_training_is_the_uninterrupted_one(configured, tmp_path):
    options = {"events": 64, "lr_scheduler": "cosine"}
    kept = configured(tmp_path / "whole", checkpoint={"save_interval": 1}, **options)
    whole = train_inpainter(kept)
    first = whole.with_name("inpainter_checkpoint_epoch_1.pth")
    config = configured(tmp_path / "again", checkpoint={"resume_from": str(first)}, **options)
    train_inpainter(config)
    states = [
        load_inpainter(folder / "inpainter_checkpoint_last.pth").model.state_dict()
        for folder in (whole.parent, config.directory)
    ]
    for name, tensor in states[0].items():
        assert torch.equal(tensor, states[1][name]), name


@pytest.fixture(scope="module")
def mae(tmp_path_factory):
    torch.manual_seed(11)
    path = tmp_path_factory.mktemp("mae") / "mae.pth"
    config = MAEModelConfig(
        encoder_dim=32,
        hex_channels=8,
        num_fusion_layers=1,
        outer_fine_pool=(3, 3),
        decoder_dim=8,
    )
    model = build_mae(config, get_layout("physical"), Normalisation(**NORMALISATION))
    save_mae(path, model)
    return path, model


def test_cross_attention_on_a_frozen_encoder(configured, tmp_path, mae):
    path, model = mae
    config = configured(
        tmp_path,
        model={"arch": "research", **RESEARCH},
        mae_checkpoint=str(path),
        loss_units="normalised",
        loss_fn="smooth_l1",
        events=32,
        epochs=1,
        npho_loss_weight={"enabled": True},
        intensity_reweighting={"enabled": True},
    )
    loaded = load_inpainter(train_inpainter(config))
    for name, tensor in model.encoder.state_dict().items():
        assert torch.equal(loaded.model.encoder.state_dict()[name], tensor), name
    (row,) = rows(config)
    assert float(row["val_time"]) > 0
    found = uproot.open(tmp_path / "inpainter_predictions_best.root")["tree"]
    assert found["pred_time"].array(library="np").shape == found["face"].array(library="np").shape


def test_another_normalisation_is_refused(configured, tmp_path, mae):
    config = configured(
        tmp_path, model={"arch": "research", **RESEARCH}, mae_checkpoint=str(mae[0]), events=32
    )
    other = config.normalization.model_copy(update={"npho_scale": 7.0})
    with pytest.raises(BundleError, match="normalised otherwise"):
        train_inpainter(config.model_copy(update={"normalization": other}))


def test_arch_xec_has_no_encoder_to_start_from(configured, tmp_path, mae):
    with pytest.raises(ValueError, match="mae_checkpoint"):
        configured(tmp_path, mae_checkpoint=str(mae[0]))
    config = configured(tmp_path, checkpoint={"resume_from": str(mae[0])})
    with pytest.raises(UsageError, match="no encoder"):
        train_inpainter(config)


def test_the_statistics_loss_is_smallest_at_the_mean_of_the_photons():
    # Photons that scatter by a third: the mean of the root would be biased.
    generator = torch.Generator().manual_seed(2)
    photons = 300.0 * (1 + 0.33 * torch.randn(20_000, generator=generator))
    normalisation = Normalisation(npho_scheme="sqrt")
    loss = SensorLoss(InpainterTraining(loss_units="statistics", loss_fn="mse"), normalisation)
    hidden = Hidden(
        sensors=torch.zeros(len(photons), dtype=torch.int64),
        photons=photons,
        normalised=torch.zeros(len(photons), 2),
        weight=None,
    )
    guess = torch.tensor([0.4], requires_grad=True)
    optimiser = torch.optim.SGD([guess], lr=3e-4)
    for _ in range(300):
        optimiser.zero_grad()
        total, _parts = loss.total(loss(guess.expand(len(photons))[:, None], hidden))
        total.backward()
        optimiser.step()
    assert float(normalisation.inverse(guess.detach(), torch)) == pytest.approx(
        float(photons.mean()), rel=2e-3
    )
