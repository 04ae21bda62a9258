"""A real training, tiny: it learns, and leaves behind what the contract promises."""

import csv

import numpy as np
import pytest
import torch

from xec_deploy.errors import CheckFailed, InputError, UsageError
from xec_deploy.normalisation.input_range import InputRange, event_quantities
from xec_train.checkpoint import load_regressor
from xec_train.config import RegressorConfig
from xec_train.regressor import train_regressor


@pytest.fixture(scope="module")
def configured(files, validation_file):
    def configured(save_dir, *, short=False, **training):
        return RegressorConfig.model_validate(
            {
                "data": {
                    "train_path": files[2:] if short else files,
                    "val_path": [validation_file],
                    "batch_size": 16 if short else 32,
                    "val_events": 20 if short else None,
                    "num_workers": 0,
                },
                "normalization": {
                    "npho_scheme": "sqrt",
                    "npho_scale2": 1.0,
                    "time_scale": 1e-8,
                    "time_shift": 0.0,
                    "sentinel_time": -2.0,
                },
                "model": {
                    "encoder_dim": 32,
                    "hex_channels": 8,
                    "num_fusion_layers": 1,
                    "hidden_dim": 32,
                    "layout": "physical",
                    "outer_fine_pool": [3, 3],
                    "transformer_dropout": 0.0,
                    "head_dropout": 0.0,
                },
                "tasks": {
                    "energy": {"weight": 2.0, "loss_scale": "spread"},
                    "uvwFI": {"loss_scale": "spread"},
                    "angle": {"enabled": False},
                },
                "training": {
                    "epochs": 3,
                    "lr": 3e-3,
                    "ema_decay": 0.8,
                    "lr_scheduler": "cosine",
                    "warmup_epochs": 0.15,
                    "val_every_steps": 4,
                    "accelerator": "cpu",
                    **training,
                },
                "checkpoint": {"save_dir": str(save_dir), "save_artifacts": False},
            }
        )

    return configured


@pytest.fixture(scope="module")
def trained(configured, tmp_path_factory):
    """Configuration, folder and best checkpoint of a training of 30 steps."""
    folder = tmp_path_factory.mktemp("training") / "run"
    config = configured(folder)
    return config, folder, train_regressor(config)


@pytest.fixture(scope="module")
def metrics(trained):
    _, folder, _ = trained
    with (folder / "metrics.csv").open() as stream:
        return list(csv.DictReader(stream))


def test_the_validation_loss_falls(metrics):
    losses = [float(row["val_loss"]) for row in metrics if row["val_loss"]]
    # Ten steps an epoch, validated evenly and at the end of each.
    assert len(losses) == 9
    assert min(losses) == min(losses[-3:])
    assert min(losses) < 0.8 * losses[0]
    steps = [int(row["step"]) + 1 for row in metrics if row["val_loss"]]
    assert steps[:3] == [3, 6, 9]


def test_metrics_name_tasks_and_components(metrics):
    assert {"train_loss", "train_energy", "train_uvwFI"} <= set(metrics[0]) | {"train_loss"}
    names = {f"val_uvwFI_{component}_res" for component in range(3)} | {"val_energy_0_res"}
    assert names <= set(metrics[0])
    assert not any("angle" in name for name in metrics[0])
    assert all(float(row[name]) > 0 for row in metrics if row["val_loss"] for name in names)


def test_the_checkpoint_opens_and_says_what_it_is(trained):
    config, folder, best = trained
    assert best == folder / "checkpoint_best.pth"
    assert (folder / "checkpoint_last.pth").is_file()
    assert not list(folder.glob("*.part"))
    loaded = load_regressor(best)
    assert loaded.weights == "ema"
    assert loaded.layout == "physical"
    assert loaded.normalisation == config.normalization
    assert loaded.model.config.active_tasks == ("energy", "uvwFI")
    assert set(loaded.model.heads) == {"energy", "uvwFI"}
    assert {"version", "step", "epoch", "metrics", "recipe"} <= set(loaded.training)
    assert RegressorConfig.model_validate(loaded.training["recipe"]) == config


def test_the_checkpoint_knows_the_range_of_its_events(trained, simulated):
    loaded = load_regressor(trained[2])
    known = InputRange.model_validate(loaded.training["input_range"])
    assert 250 < known.events <= 300
    found = event_quantities(
        *(simulated[name][:300] for name in ("npho", "relative_time", "dead")),
        loaded.normalisation.npho_threshold,
    )
    for name, values in found.items():
        recorded = known.quantities[name]
        assert np.nanmin(values) <= recorded.low < recorded.high <= np.nanmax(values)
        assert recorded.mean == pytest.approx(np.nanmean(values), rel=0.05)
    assert known.outside(found).sum() < 10


def test_the_checkpoint_emits_physical_units_as_good_as_recorded(trained, simulated):
    _, _, best = trained
    loaded = load_regressor(best)
    rows = slice(300, 400)
    x = loaded.normalisation.apply(
        simulated["npho"][rows], simulated["relative_time"][rows], simulated["dead"][rows]
    )
    with torch.no_grad():
        out = loaded.model(torch.from_numpy(x))
    energy = simulated["energyTruth"][rows]
    residual = out["energy"][:, 0].numpy() - energy
    low, high = np.quantile(residual, [0.16, 0.84])
    recorded = loaded.training["metrics"]["val_energy_0_res"]
    assert (high - low) / 2 == pytest.approx(recorded, rel=1e-3)
    assert 0.015 < out["energy"].mean().item() < 0.060
    assert out["uvwFI"].shape == (100, 3)
    assert residual.std() < 1.05 * energy.std()


def test_own_architecture_is_better_from_the_start(configured, tmp_path, metrics):
    config = configured(tmp_path / "xec", epochs=1, val_every_steps=10, mirror=True)
    model = {"arch": "xec", "xec": {"width": 32, "head_width": 16, "fovea_rings": 4}}
    fit = {"copies": 2, "epochs": 2, "batch_size": 50}
    content = config.model_dump(mode="json")
    content["model"], content["training"]["view_fit"] = model, fit
    loaded = load_regressor(train_regressor(RegressorConfig.model_validate(content)))
    assert loaded.layout == "physical"
    assert set(loaded.model.heads) == {"energy", "uvwFI"}
    first = float(next(row["val_loss"] for row in metrics if row["val_loss"]))
    assert loaded.training["metrics"]["val_loss"] < 0.5 * first


def test_views_that_do_not_fit_in_memory(configured, tmp_path):
    content = configured(tmp_path / "views").model_dump(mode="json")
    content["model"] = {"arch": "xec"}
    content["training"]["view_fit"] = {"events": 10_000, "copies": 50, "memory_mb": 100}
    with pytest.raises(UsageError, match="memory_mb"):
        train_regressor(RegressorConfig.model_validate(content))


def test_same_seed_same_weights(configured, tmp_path):
    states = [
        load_regressor(
            train_regressor(configured(tmp_path / name, short=True, epochs=1))
        ).model.state_dict()
        for name in ("a", "b")
    ]
    for name, tensor in states[0].items():
        assert torch.equal(tensor, states[1][name]), name


def test_a_training_that_diverges(configured, tmp_path):
    config = configured(
        tmp_path, short=True, epochs=1, lr=1e30, lr_scheduler="none", warmup_epochs=0.0
    )
    with pytest.raises(CheckFailed, match=r"the training diverged.*Lower training\.lr"):
        train_regressor(config)


def test_unusable_input_writes_nothing(configured, tmp_path):
    config = configured(tmp_path / "run")
    data = config.data.model_copy(update={"truth": {"energy": "nonsense"}})
    with pytest.raises(InputError, match="no branch 'nonsense' with the truth for task 'energy'"):
        train_regressor(config.model_copy(update={"data": data}))
    assert not (tmp_path / "run").exists()
