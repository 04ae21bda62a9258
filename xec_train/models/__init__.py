"""The networks."""

from os import PathLike

from xec_deploy.detector.geometry import Geometry
from xec_deploy.detector.layout import Layout
from xec_deploy.normalisation import Normalisation
from xec_train.models.config import (
    EncoderConfig,
    InpainterModelConfig,
    MAEModelConfig,
    ModelConfig,
    NetworkConfig,
)
from xec_train.models.research import (
    XEC_MAE,
    XEC_Inpainter,
    XECEncoder,
    XECMultiHeadModel,
    padded_sensors,
)
from xec_train.models.tasks import TASK_DIMENSIONS, TaskName
from xec_train.models.xec import (
    XecEncoder,
    XecEncoderConfig,
    XecInpainter,
    XecInpainterModelConfig,
    XecInpainterNetworkConfig,
    XecMae,
    XecMaeModelConfig,
    XecModelConfig,
    XecNetworkConfig,
    XecRegressor,
)

Regressor = XECMultiHeadModel | XecRegressor
"""A regressor of any architecture."""
MaskedAutoencoder = XEC_MAE | XecMae
"""A masked autoencoder of any architecture."""
Inpainter = XEC_Inpainter | XecInpainter
"""An inpainter of any architecture."""

__all__ = [
    "TASK_DIMENSIONS",
    "XEC_MAE",
    "EncoderConfig",
    "Inpainter",
    "InpainterModelConfig",
    "MAEModelConfig",
    "MaskedAutoencoder",
    "ModelConfig",
    "NetworkConfig",
    "Regressor",
    "TaskName",
    "XECEncoder",
    "XECMultiHeadModel",
    "XEC_Inpainter",
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
    "build_inpainter",
    "build_mae",
    "build_regressor",
    "padded_sensors",
]


def build_regressor(
    config: ModelConfig | XecModelConfig, layout: Layout, normalisation: Normalisation
) -> Regressor:
    """Return a regressor of the architecture ``config`` describes, randomly initialised.

    Every regressor turns normalised events (batch, 4760, 2) into ``{task: (batch, outputs)}``,
    means before log variances.
    """
    if isinstance(config, XecModelConfig):
        return XecRegressor(config, normalisation)
    return XECMultiHeadModel(config, layout, normalisation)


def build_mae(
    config: MAEModelConfig | XecMaeModelConfig, layout: Layout, normalisation: Normalisation
) -> MaskedAutoencoder:
    """Return a masked autoencoder of the architecture ``config`` describes, randomly initialised.

    That of arch research turns normalised events and a mask of hidden sensors into predictions
    (batch, 4760, channels) of all sensors, in normalised units; that of arch xec what is seen of
    masked events into what is seen of the whole ones.
    """
    if isinstance(config, XecMaeModelConfig):
        return XecMae(config, normalisation)
    return XEC_MAE(config, layout, normalisation)


def build_inpainter(
    config: InpainterModelConfig | XecInpainterModelConfig,
    layout: Layout,
    normalisation: Normalisation,
    positions: Geometry | str | PathLike[str] | None = None,
) -> Inpainter:
    """Return an inpainter, randomly initialised.

    Every inpainter turns normalised events and a mask of hidden sensors into predictions (batch,
    4760, channels) in normalised units.  ``positions`` is where a cross-attention head takes the
    sensors to be: a geometry, a sensor table (``.csv``), a text file with lines ``id x y z`` [cm],
    or None for the design.
    """
    if isinstance(config, XecInpainterModelConfig):
        return XecInpainter(config, normalisation)
    return XEC_Inpainter(config, layout, normalisation, positions)
