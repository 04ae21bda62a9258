"""The C++ library on NumPy arrays: normalisation, solid angles, the conventional reconstruction.

Arrays that are contiguous and of the stated type are used where they lie, others are copied
first.  The loops run without the interpreter lock, over ``threads`` threads; the number of
threads never changes a bit of the result.
"""

from xec_deploy.cpp.geometry import solid_angle, uvw_to_xyz, xyz_to_uvw
from xec_deploy.cpp.normalisation import HasNormalisation, normalise
from xec_deploy.cpp.position_fit import FitStatus, PositionFit, fit_position

__all__ = [
    "FitStatus",
    "HasNormalisation",
    "PositionFit",
    "fit_position",
    "normalise",
    "solid_angle",
    "uvw_to_xyz",
    "xyz_to_uvw",
]
