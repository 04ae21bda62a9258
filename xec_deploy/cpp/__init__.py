"""The C++ library on NumPy arrays: solid angles, normalisation and coordinates.

Arrays that are contiguous and of the stated type are used where they lie, others are copied
first.  The loops run without the interpreter lock, over ``threads`` threads; the number of
threads never changes a bit of the result.
"""

from xec_deploy.cpp.geometry import solid_angle, uvw_to_xyz, xyz_to_uvw
from xec_deploy.cpp.normalisation import HasNormalisation, normalise

__all__ = ["HasNormalisation", "normalise", "solid_angle", "uvw_to_xyz", "xyz_to_uvw"]
