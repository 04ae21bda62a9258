"""The architecture of the research code: its checkpoints load by name and are reproduced."""

from xec_train.models.research.encoder import XECEncoder
from xec_train.models.research.regressor import XECMultiHeadModel

__all__ = ["XECEncoder", "XECMultiHeadModel"]
