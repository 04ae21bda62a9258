"""The project's own architecture: what it sees is computed, what it makes of it is learned.

Light is filled, looked at from its centre, and summed up in moments before the first weight: that
takes a hundredth of the arithmetic of convolutions over all faces and leaves to the training what
it is needed for.  Beside ``arch: research``, which reproduces existing checkpoints.
"""

from xec_train.models.xec.config import (
    XecEncoderConfig,
    XecMaeModelConfig,
    XecModelConfig,
    XecNetworkConfig,
)
from xec_train.models.xec.encoder import RANGE, SMALLEST_SPREAD, XecEncoder
from xec_train.models.xec.inpainter import XecInpainter
from xec_train.models.xec.inpainter_config import (
    XecInpainterModelConfig,
    XecInpainterNetworkConfig,
)
from xec_train.models.xec.mae import XecMae
from xec_train.models.xec.moments import N_MOMENTS
from xec_train.models.xec.regressor import XecRegressor

__all__ = [
    "N_MOMENTS",
    "RANGE",
    "SMALLEST_SPREAD",
    "XecEncoder",
    "XecEncoderConfig",
    "XecInpainter",
    "XecInpainterModelConfig",
    "XecInpainterNetworkConfig",
    "XecMae",
    "XecMaeModelConfig",
    "XecModelConfig",
    "XecNetworkConfig",
    "XecRegressor",
]
