/// Position fits as arrays.
#pragma once

#include "xec/position_fit.hpp"

#include <pybind11/pybind11.h>

#include <vector>

namespace xec::python {

/// (uvw_stage1, uvw, scale, chi2_ndf, n_sensors, covariance, status), one row for each fit.
pybind11::tuple fit_arrays(const std::vector<PositionFit>& fits);

} // namespace xec::python
