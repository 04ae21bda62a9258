"""The networks."""

from xec_train.models.config import TASK_DIMENSIONS, ModelConfig, TaskName
from xec_train.models.encoder import XECEncoder
from xec_train.models.regressor import XECMultiHeadModel

__all__ = ["TASK_DIMENSIONS", "ModelConfig", "TaskName", "XECEncoder", "XECMultiHeadModel"]
