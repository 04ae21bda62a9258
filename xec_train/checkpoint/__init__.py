"""Checkpoints: reading the research code's and the project's own, writing the latter."""

from xec_train.checkpoint.regressor import (
    RegressorCheckpoint,
    load_regressor,
    open_checkpoint,
    regressor_entries,
    save_regressor,
)

__all__ = [
    "RegressorCheckpoint",
    "load_regressor",
    "open_checkpoint",
    "regressor_entries",
    "save_regressor",
]
