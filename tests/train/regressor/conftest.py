"""Configurations of small regressors."""

import pytest

from xec_train.config import RegressorConfig


@pytest.fixture(scope="session")
def small_config(files, validation_file):
    """Make a configuration of a regressor that trains in seconds; sections are merged into it."""

    def small_config(save_dir, **sections):
        content = {
            "data": {
                "train_path": files[2:],
                "val_path": [validation_file],
                "batch_size": 16,
                "val_events": 40,
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
                "layout": "physical",
                "encoder_dim": 32,
                "hex_channels": 8,
                "num_fusion_layers": 1,
                "hidden_dim": 32,
                "outer_fine_pool": [3, 3],
            },
            "training": {"epochs": 2, "lr": 3e-3, "ema_decay": 0.8, "accelerator": "cpu"},
            "checkpoint": {"save_dir": str(save_dir), "save_artifacts": False},
            "mlflow": {"enabled": False},
        }
        for name, section in sections.items():
            merged = name != "tasks" and name in content and isinstance(section, dict)
            content[name] = {**content[name], **section} if merged else section
        return RegressorConfig.model_validate(content)

    return small_config
