"""The networks."""

from xec_deploy.detector.layout import Layout
from xec_deploy.normalisation import Normalisation
from xec_train.models.config import (
    TASK_DIMENSIONS,
    EncoderConfig,
    InpainterModelConfig,
    MAEModelConfig,
    ModelConfig,
    NetworkConfig,
    TaskName,
)
from xec_train.models.research import XECEncoder, XECMultiHeadModel

__all__ = [
    "TASK_DIMENSIONS",
    "EncoderConfig",
    "InpainterModelConfig",
    "MAEModelConfig",
    "ModelConfig",
    "NetworkConfig",
    "TaskName",
    "XECEncoder",
    "XECMultiHeadModel",
    "build_regressor",
]


def build_regressor(
    config: ModelConfig, layout: Layout, normalisation: Normalisation
) -> XECMultiHeadModel:
    """Return a regressor of the architecture ``config`` describes, randomly initialised.

    Every regressor turns normalised events (batch, 4760, 2) into ``{task: (batch, outputs)}``,
    means before log variances.
    """
    return XECMultiHeadModel(config, layout, normalisation)
