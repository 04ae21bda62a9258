/// The conventional position fit.
#include "xec/position_fit.hpp"

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h> // std::optional

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "arrays.hpp"
#include "bind.hpp"
#include "fit_arrays.hpp"

namespace xec::python {

py::tuple fit_arrays(const std::vector<PositionFit>& fits) {
    const auto count = static_cast<py::ssize_t>(fits.size());
    Array<double> stage1({count, py::ssize_t{3}});
    Array<double> uvw({count, py::ssize_t{3}});
    Array<double> scale(count);
    Array<double> chi2_ndf(count);
    Array<std::int32_t> n_sensors(count);
    Array<double> covariance({count, py::ssize_t{4}, py::ssize_t{4}});
    Array<std::int8_t> status(count);
    for (std::size_t i = 0; i < fits.size(); ++i) {
        const PositionFit& fit = fits[i];
        std::copy(fit.uvw_stage1.begin(), fit.uvw_stage1.end(), stage1.mutable_data() + 3 * i);
        std::copy(fit.uvw.begin(), fit.uvw.end(), uvw.mutable_data() + 3 * i);
        scale.mutable_data()[i] = fit.scale;
        chi2_ndf.mutable_data()[i] = fit.chi2_ndf;
        n_sensors.mutable_data()[i] = fit.n_sensors;
        std::copy(fit.covariance.begin(), fit.covariance.end(), covariance.mutable_data() + 16 * i);
        status.mutable_data()[i] = static_cast<std::int8_t>(fit.status);
    }
    return py::make_tuple(stage1, uvw, scale, chi2_ndf, n_sensors, covariance, status);
}

namespace {

template <typename Real>
py::tuple fit_positions(const PositionFitter& fitter, const Array<Real>& npho,
                        const std::optional<Array<bool>>& dead,
                        const std::optional<Array<double>>& start, unsigned threads) {
    const Events<Real> events = make_events(npho, dead, fitter.geometry().size());
    const auto count = static_cast<py::ssize_t>(events.count);
    if (start) {
        expect_shape(*start, "start", {count, 3});
    }
    const double* const starts = start ? start->data() : nullptr;
    std::vector<PositionFit> fits(events.count);
    {
        const py::gil_scoped_release release;
        xec::fit_positions(fitter, events, starts, fits.data(), threads);
    }
    return fit_arrays(fits);
}

} // namespace

void bind_position_fit(py::module_& module) {
    py::class_<PositionFitter>(module, "PositionFitter").def(py::init<const Geometry&>());
    module.def("fit_positions", &fit_positions<float>, py::arg("fitter"), as_is("npho"),
               as_is("dead"), as_is("start"), py::arg("threads"));
    module.def("fit_positions", &fit_positions<double>, py::arg("fitter"), as_is("npho"),
               as_is("dead"), as_is("start"), py::arg("threads"));
}

} // namespace xec::python
