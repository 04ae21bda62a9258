/// The Python module `xec_deploy._cpp`; its users' face is `xec_deploy.cpp`.
///
/// Arrays are taken as they lie in memory or refused, never converted: the facade does that, where
/// it can say in a sentence what was wrong.

#include "xec/geometry.hpp"
#include "xec/normalisation.hpp"
#include "xec/parallel.hpp"
#include "xec/solid_angle.hpp"

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h> // std::optional

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

namespace py = pybind11;

namespace {

template <typename T> using Array = py::array_t<T, py::array::c_style>;

template <typename T>
void expect_shape(const Array<T>& array, const char* name, const std::vector<py::ssize_t>& shape) {
    bool fits = array.ndim() == static_cast<py::ssize_t>(shape.size());
    for (std::size_t axis = 0; fits && axis < shape.size(); ++axis) {
        fits = shape[axis] < 0 || array.shape(static_cast<py::ssize_t>(axis)) == shape[axis];
    }
    if (!fits) {
        throw std::invalid_argument(std::string(name) + " has a wrong shape");
    }
}

std::unique_ptr<xec::Geometry> make_geometry(const Array<double>& position,
                                             const Array<double>& normal,
                                             const Array<std::int8_t>& face) {
    expect_shape(face, "face", {-1});
    expect_shape(position, "position", {face.size(), 3});
    expect_shape(normal, "normal", {face.size(), 3});
    return std::make_unique<xec::Geometry>(position.data(), normal.data(), face.data(),
                                           static_cast<std::size_t>(face.size()));
}

Array<double> solid_angle(const xec::Geometry& geometry, const Array<double>& points,
                          unsigned threads) {
    expect_shape(points, "points", {-1, 3});
    const py::ssize_t count = points.shape(0);
    Array<double> out({count, static_cast<py::ssize_t>(geometry.size())});
    const double* from = points.data();
    double* to = out.mutable_data();
    const py::gil_scoped_release release;
    xec::solid_angle(geometry, from, static_cast<std::size_t>(count), to, threads);
    return out;
}

xec::Normalisation make_normalisation(const std::string& npho_scheme, double npho_scale,
                                      double npho_scale2, double time_scale, double time_shift,
                                      double sentinel_npho, double sentinel_time,
                                      double npho_threshold) {
    const xec::Normalisation parameters{xec::npho_scheme(npho_scheme),
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
Array<float> normalise(const xec::Normalisation& parameters, const Array<Real>& npho,
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
    xec::parallel_for(static_cast<std::size_t>(events), threads,
                      [=, &parameters](std::size_t begin, std::size_t end) {
                          for (std::size_t event = begin; event < end; ++event) {
                              const std::size_t first = event * channels;
                              xec::normalise(parameters, npho_data + first, time_data + first,
                                             flags ? flags + event * flags_stride : nullptr,
                                             channels, to + 2 * first);
                          }
                      });
    return out;
}

/// Apply a conversion of one vector to (n, 3).
template <xec::Vec3 (*convert)(const xec::Vec3&)>
Array<double> converted(const Array<double>& vectors) {
    expect_shape(vectors, "vectors", {-1, 3});
    Array<double> out({vectors.shape(0), py::ssize_t{3}});
    const double* from = vectors.data();
    double* to = out.mutable_data();
    const py::ssize_t size = vectors.size();
    const py::gil_scoped_release release;
    for (py::ssize_t i = 0; i < size; i += 3) {
        const xec::Vec3 result = convert({from[i], from[i + 1], from[i + 2]});
        to[i] = result[0];
        to[i + 1] = result[1];
        to[i + 2] = result[2];
    }
    return out;
}

} // namespace

PYBIND11_MODULE(_cpp, module) {
    module.attr("__version__") = XEC_VERSION;
    const auto as_is = [](const char* name) { return py::arg(name).noconvert(); };

    py::class_<xec::Geometry>(module, "Geometry")
        .def(py::init(&make_geometry), as_is("position"), as_is("normal"), as_is("face"));
    py::class_<xec::Normalisation>(module, "Normalisation")
        .def(py::init(&make_normalisation), py::kw_only(), py::arg("npho_scheme"),
             py::arg("npho_scale"), py::arg("npho_scale2"), py::arg("time_scale"),
             py::arg("time_shift"), py::arg("sentinel_npho"), py::arg("sentinel_time"),
             py::arg("npho_threshold"));

    module.def("solid_angle", &solid_angle, py::arg("geometry"), as_is("points"),
               py::arg("threads"));
    module.def("normalise", &normalise<float>, py::arg("normalisation"), as_is("npho"),
               as_is("time"), as_is("dead"), py::arg("threads"));
    module.def("normalise", &normalise<double>, py::arg("normalisation"), as_is("npho"),
               as_is("time"), as_is("dead"), py::arg("threads"));
    module.def("uvw_to_xyz", &converted<xec::uvw_to_xyz>, as_is("uvw"));
    module.def("xyz_to_uvw", &converted<xec::xyz_to_uvw>, as_is("xyz"));
}
