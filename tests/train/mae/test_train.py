"""Pretraining, tiny: it learns, leaves checkpoints that others start from, and goes on."""

import csv

import numpy as np
import pytest
import torch
import uproot

from xec_deploy.errors import BundleError
from xec_train.checkpoint import load_encoder, load_mae, load_regressor
from xec_train.config import MaeConfig, RegressorConfig
from xec_train.mae import train_mae
from xec_train.models import XEC_MAE, XecMae
from xec_train.models.xec import N_MOMENTS
from xec_train.regressor import train_regressor


@pytest.fixture(scope="module", params=["research", "xec"])
def trained(request, configured, tmp_path_factory):
    """Configuration and best checkpoint of either architecture."""
    folder = tmp_path_factory.mktemp(request.param)
    config = configured(folder, arch=request.param, auto_channel_weight=True)
    return config, train_mae(config)


def metrics(config):
    with (config.directory / "metrics.csv").open() as stream:
        return [row for row in csv.DictReader(stream) if row["val_loss"]]


def test_the_loss_falls_and_checkpoints_say_what_they_are(trained):
    config, best = trained
    losses = [float(row["val_loss"]) for row in metrics(config)]
    assert losses[1] < losses[0]
    assert best.name == "mae_checkpoint_best.pth"
    loaded = load_mae(best)
    own = config.model.arch == "xec"
    assert isinstance(loaded.model, XecMae if own else XEC_MAE)
    assert loaded.normalisation == config.normalization
    assert loaded.layout == "physical"
    assert loaded.assumed == ()
    assert MaeConfig.model_validate(loaded.training["recipe"]) == config
    encoder = load_encoder(config.directory / "mae_encoder_best.pth")
    theirs = loaded.model.encoder.state_dict()
    assert encoder.model.state_dict().keys() == theirs.keys()
    assert all(torch.equal(t, theirs[n]) for n, t in encoder.model.state_dict().items())


def test_what_is_logged_of_the_validation(trained):
    config, _ = trained
    row = metrics(config)[-1]
    if config.model.arch == "xec":
        names = {f"val_{part}_unexplained" for part in ("moments", "sharp", "coarse", "pmts")}
        # Nothing predicted would be 1.
        assert float(row["val_moments_unexplained"]) < 1.0
    else:
        faces = ("inner", "outer", "upstream", "downstream", "top", "bottom")
        names = {f"val_npho_mae_{face}" for face in faces}
        names |= {"val_npho", "val_time", "val_npho_mae", "val_npho_rmse", "val_time_rmse"}
    assert names <= set(row)
    assert all(float(row[name]) > 0 for name in names)


def test_predictions_are_written_in_photons(trained, simulated):
    config, best = trained
    path = config.directory / "mae_predictions.root"
    if config.model.arch == "xec":
        assert not path.exists()
        return
    with uproot.open(path) as file:
        events = file["xec"].arrays(library="np")
    assert len(events["run"]) == 60
    mask = np.stack(events["mask"])
    assert 0.5 < mask.mean() < 0.6
    loaded, rows = load_mae(best), slice(300, 305)
    arrays = (simulated[name][rows] for name in ("npho", "relative_time", "dead"))
    x = torch.from_numpy(loaded.normalisation.apply(*arrays))
    with torch.no_grad():
        expected = loaded.model(x, torch.from_numpy(mask[:5]))[..., 0]
    photons = loaded.normalisation.inverse(expected, torch).numpy()
    np.testing.assert_allclose(np.stack(events["npho_predicted"])[:5], photons, rtol=1e-3, atol=0.1)
    assert np.isfinite(np.stack(events["time_predicted"])).all()


def test_resumed_is_as_uninterrupted(configured, tmp_path):
    whole = configured(tmp_path / "whole", arch="xec", epochs=2)
    first = configured(tmp_path / "part", arch="xec", epochs=2, checkpoint={"save_interval": 1})
    expected = load_mae(train_mae(whole)).model.state_dict()
    train_mae(first)
    resumed = configured(
        tmp_path / "resumed",
        arch="xec",
        epochs=2,
        checkpoint={"resume_from": str(tmp_path / "part" / "mae_checkpoint_epoch_1.pth")},
    )
    found = load_mae(train_mae(resumed)).model.state_dict()
    assert all(torch.equal(tensor, found[name]) for name, tensor in expected.items())


def test_a_pretraining_starts_from_an_encoder(trained, configured, tmp_path):
    config, best = trained
    arch = config.model.arch
    again = configured(
        tmp_path,
        arch=arch,
        epochs=1,
        lr=1e-9,
        lr_scheduler="none",
        ema_decay=None,
        view_fit={"events": 100, "epochs": 0},
        checkpoint={
            "resume_from": str(best.with_name("mae_encoder_best.pth")),
            "save_predictions": False,
        },
    )
    mine, theirs = (load_mae(path).model.encoder.state_dict() for path in (train_mae(again), best))
    for name, tensor in theirs.items():
        torch.testing.assert_close(mine[name], tensor, rtol=0, atol=1e-5)


def regressor_config(config, save_dir, start, **training):
    own = config.model.arch == "xec"
    names = ("encoder_dim", "hex_channels", "num_fusion_layers", "outer_fine_pool", "layout")
    model = config.model.model_dump(mode="json")
    return RegressorConfig.model_validate(
        {
            "data": config.data.model_dump(),
            "normalization": config.normalization.model_dump(),
            "model": {"arch": "xec", "xec": {**model["xec"], "head_width": 16}}
            if own
            else {name: model[name] for name in names},
            "tasks": {"energy": {"loss_scale": "spread"}, "uvwFI": {"loss_scale": "spread"}},
            "training": {
                "epochs": 1,
                "lr": 1e-4,
                "warmup_epochs": 0,
                "ema_decay": None,
                "accelerator": "cpu",
                "view_fit": {"events": 250, "epochs": 4, "batch_size": 50},
                **training,
            },
            "checkpoint": {
                "save_dir": str(save_dir),
                "save_artifacts": False,
                "resume_from": str(start),
            },
            "mlflow": {"enabled": False},
        }
    )


def test_a_regressor_keeps_a_frozen_encoder(trained, tmp_path):
    config, best = trained
    new = regressor_config(config, tmp_path, best, encoder_lr=0.0)
    loaded = load_regressor(train_regressor(new))
    mine, theirs = loaded.model.backbone.state_dict(), load_mae(best).model.encoder.state_dict()
    assert all(torch.equal(mine[name], tensor) for name, tensor in theirs.items())
    if config.model.arch == "xec":
        anchor = loaded.model.anchors["uvwFI"].weight
        assert anchor.shape == (3, N_MOMENTS)
        assert anchor.abs().sum() > 0
        assert loaded.model.heads["uvwFI"][-1].weight.abs().sum() > 0


def test_a_regressor_trains_a_pretrained_encoder_slowly(trained, tmp_path):
    config, best = trained
    start = load_mae(best).model.encoder.state_dict()
    moved = []
    for share in (0.01, 1.0):
        new = regressor_config(config, tmp_path / str(share), best, encoder_lr=share)
        state = load_regressor(train_regressor(new)).model.backbone.state_dict()
        moved.append(sum(float((state[n] - t).abs().sum()) for n, t in start.items()))
    assert 0 < moved[0] < 0.2 * moved[1]


def test_another_normalisation_is_refused(trained, tmp_path):
    config, best = trained
    new = regressor_config(config, tmp_path, best)
    other = new.normalization.model_copy(update={"npho_scale": 20_000.0})
    with pytest.raises(BundleError, match="normalised otherwise: npho_scale"):
        train_regressor(new.model_copy(update={"normalization": other}))
