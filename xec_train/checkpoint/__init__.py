"""Checkpoints: reading the research code's and the project's own, writing the latter."""

from xec_train.checkpoint.regressor import RegressorCheckpoint, load_regressor, save_regressor

__all__ = ["RegressorCheckpoint", "load_regressor", "save_regressor"]
