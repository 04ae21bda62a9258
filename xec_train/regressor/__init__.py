"""Training of the multi-task regressor."""

from xec_train.regressor.module import RegressorModule
from xec_train.regressor.train import train_regressor

__all__ = ["RegressorModule", "train_regressor"]
