"""The C++ library on NumPy arrays: normalisation, solid angles, reconstruction, the network.

Arrays that are contiguous and of the stated type are used where they lie, others are copied
first.  The loops run without the interpreter lock, over ``threads`` threads; the number of
threads never changes a bit of the result.
"""

from xec_deploy.cpp.dead_channels import DEAD_METHODS, DeadMethod, predict_dead
from xec_deploy.cpp.geometry import solid_angle, uvw_to_xyz, xyz_to_uvw
from xec_deploy.cpp.model import Model
from xec_deploy.cpp.normalisation import HasNormalisation, normalise
from xec_deploy.cpp.position_fit import FitStatus, PositionFit, fit_position
from xec_deploy.cpp.reconstruction import ConventionalReconstruction, reconstruct

__all__ = [
    "DEAD_METHODS",
    "ConventionalReconstruction",
    "DeadMethod",
    "FitStatus",
    "HasNormalisation",
    "Model",
    "PositionFit",
    "fit_position",
    "normalise",
    "predict_dead",
    "reconstruct",
    "solid_angle",
    "uvw_to_xyz",
    "xyz_to_uvw",
]
