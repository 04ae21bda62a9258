/// Normalisation of raw events.
#include "xec/normalisation.hpp"
#include "xec/parallel.hpp"

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h> // std::optional

#include <cstddef>
#include <optional>
#include <string>

#include "arrays.hpp"
#include "bind.hpp"

namespace xec::python {

namespace {

Normalisation make_normalisation(const std::string& npho_scheme, double npho_scale,
                                 double npho_scale2, double time_scale, double time_shift,
                                 double sentinel_npho, double sentinel_time,
                                 double npho_threshold) {
    const Normalisation parameters{xec::npho_scheme(npho_scheme),
                                   npho_scale,
                                   npho_scale2,
                                   time_scale,
                                   time_shift,
                                   sentinel_npho,
                                   sentinel_time,
                                   npho_threshold};
    parameters.check();
    return parameters;
}

/// `dead` is (events, sensors), or (1, sensors) for all events alike.
template <typename Real>
Array<float> normalise(const Normalisation& parameters, const Array<Real>& npho,
                       const Array<Real>& time, const std::optional<Array<bool>>& dead,
                       unsigned threads) {
    expect_shape(npho, "npho", {-1, -1});
    const py::ssize_t events = npho.shape(0);
    const py::ssize_t sensors = npho.shape(1);
    expect_shape(time, "time", {events, sensors});
    const bool* flags = nullptr;
    std::size_t flags_stride = 0;
    if (dead) {
        const bool common = dead->ndim() == 2 && dead->shape(0) == 1;
        expect_shape(*dead, "dead", {common ? 1 : events, sensors});
        flags = dead->data();
        flags_stride = common ? 0 : static_cast<std::size_t>(sensors);
    }
    Array<float> out({events, sensors, py::ssize_t{2}});
    const Real* npho_data = npho.data();
    const Real* time_data = time.data();
    float* to = out.mutable_data();
    const auto channels = static_cast<std::size_t>(sensors);
    const py::gil_scoped_release release;
    parallel_for(static_cast<std::size_t>(events), threads,
                 [=, &parameters](std::size_t begin, std::size_t end) {
                     for (std::size_t event = begin; event < end; ++event) {
                         const std::size_t first = event * channels;
                         xec::normalise(parameters, npho_data + first, time_data + first,
                                        flags ? flags + event * flags_stride : nullptr, channels,
                                        to + 2 * first);
                     }
                 });
    return out;
}

} // namespace

void bind_normalisation(py::module_& module) {
    py::class_<Normalisation>(module, "Normalisation")
        .def(py::init(&make_normalisation), py::kw_only(), py::arg("npho_scheme"),
             py::arg("npho_scale"), py::arg("npho_scale2"), py::arg("time_scale"),
             py::arg("time_shift"), py::arg("sentinel_npho"), py::arg("sentinel_time"),
             py::arg("npho_threshold"));
    module.def("normalise", &normalise<float>, py::arg("normalisation"), as_is("npho"),
               as_is("time"), as_is("dead"), py::arg("threads"));
    module.def("normalise", &normalise<double>, py::arg("normalisation"), as_is("npho"),
               as_is("time"), as_is("dead"), py::arg("threads"));
}

} // namespace xec::python
