"""Coordinates agree with the Python definition."""

import numpy as np
import pytest

from xec_deploy import cpp, detector
from xec_deploy.errors import UsageError


@pytest.mark.parametrize("shape", [(3,), (0, 3), (500, 3), (4, 5, 3)])
def test_parity_with_python(shape):
    rng = np.random.default_rng(0)
    uvw = rng.uniform(-60, 60, shape)
    xyz = detector.uvw_to_xyz(uvw)
    assert cpp.uvw_to_xyz(uvw).shape == shape
    np.testing.assert_allclose(cpp.uvw_to_xyz(uvw), xyz, rtol=0, atol=1e-12)
    np.testing.assert_allclose(cpp.xyz_to_uvw(xyz), detector.xyz_to_uvw(xyz), rtol=0, atol=1e-12)
    np.testing.assert_allclose(cpp.xyz_to_uvw(cpp.uvw_to_xyz(uvw)), uvw, rtol=0, atol=1e-11)


def test_nan_stays_nan():
    assert np.isnan(cpp.uvw_to_xyz([np.nan, 1, 2])[2])
    assert np.isnan(cpp.xyz_to_uvw([1, np.nan, 2])[1:]).all()


@pytest.mark.parametrize("convert", [cpp.uvw_to_xyz, cpp.xyz_to_uvw])
def test_wrong_shape(convert):
    with pytest.raises(UsageError, match=r"has shape \(2,\)"):
        convert([1.0, 2.0])
