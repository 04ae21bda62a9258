"""A tiny pretraining on the simulated files."""

import pytest

from xec_train.config import MaeConfig


@pytest.fixture(scope="session")
def configured(files, validation_file):
    def configured(save_dir, *, arch="research", checkpoint=None, model=None, **training):
        network = {
            "research": {
                "encoder_dim": 32,
                "hex_channels": 8,
                "decoder_dim": 8,
                "num_fusion_layers": 1,
                "outer_fine_pool": [3, 3],
                "layout": "physical",
                "transformer_dropout": 0.0,
            },
            "xec": {"arch": "xec", "xec": {"width": 32, "fovea_rings": 4, "summary_width": 8}},
        }[arch]
        return MaeConfig.model_validate(
            {
                "data": {
                    "train_path": files,
                    "val_path": [validation_file],
                    "batch_size": 50,
                    "val_events": 60,
                    "num_workers": 0,
                },
                "normalization": {
                    "npho_scheme": "sqrt",
                    "npho_scale2": 1.0,
                    "time_scale": 1e-8,
                    "time_shift": 0.0,
                    "sentinel_time": -2.0,
                },
                "model": {**network, **(model or {})},
                "training": {
                    "epochs": 2,
                    "lr": 2e-3,
                    "ema_decay": 0.5,
                    "lr_scheduler": "cosine",
                    "accelerator": "cpu",
                    "view_fit": {"events": 250, "epochs": 6, "batch_size": 50, "ema_decay": 0.9},
                    **training,
                },
                "checkpoint": {"save_dir": str(save_dir), **(checkpoint or {})},
                "mlflow": {"enabled": False},
            }
        )

    return configured
