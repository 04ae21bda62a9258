"""The architecture of the research code: its checkpoints load by name and are reproduced."""

from xec_train.models.research.encoder import XECEncoder
from xec_train.models.research.hidden import padded_sensors
from xec_train.models.research.inpainter import XEC_Inpainter
from xec_train.models.research.mae import XEC_MAE
from xec_train.models.research.regressor import XECMultiHeadModel

__all__ = ["XEC_MAE", "XECEncoder", "XECMultiHeadModel", "XEC_Inpainter", "padded_sensors"]
