/// Prediction of dead channels.
#include "xec/dead_channels.hpp"

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h> // std::optional

#include <algorithm>
#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "arrays.hpp"
#include "bind.hpp"

namespace xec::python {

namespace {

/// `points` is (events, 7) of a fit: uvw of both stages and the scale; or nothing.
template <typename Real>
Array<double> predict_dead(const DeadRecovery& recovery, const Array<Real>& npho,
                           const std::optional<Array<bool>>& dead,
                           const std::optional<Array<double>>& points, const std::string& method,
                           unsigned threads) {
    const Events<Real> events = make_events(npho, dead, recovery.geometry().size());
    const DeadMethod how = dead_method(method);
    std::vector<PositionFit> fits;
    if (points) {
        expect_shape(*points, "points", {npho.shape(0), 7});
        fits.resize(events.count);
        for (std::size_t i = 0; i < fits.size(); ++i) {
            const double* const from = points->data() + 7 * i;
            std::copy_n(from, 3, fits[i].uvw_stage1.begin());
            std::copy_n(from + 3, 3, fits[i].uvw.begin());
            fits[i].scale = from[6];
        }
    }
    Array<double> out({npho.shape(0), npho.shape(1)});
    double* const to = out.mutable_data();
    const py::gil_scoped_release release;
    xec::predict_dead(recovery, events, points ? fits.data() : nullptr, how, to, threads);
    return out;
}

} // namespace

void bind_dead_channels(py::module_& module) {
    py::class_<DeadRecovery>(module, "DeadRecovery").def(py::init<const Geometry&>());
    module.def("predict_dead", &predict_dead<float>, py::arg("recovery"), as_is("npho"),
               as_is("dead"), as_is("points"), py::arg("method"), py::arg("threads"));
    module.def("predict_dead", &predict_dead<double>, py::arg("recovery"), as_is("npho"),
               as_is("dead"), as_is("points"), py::arg("method"), py::arg("threads"));
}

} // namespace xec::python
