/// Geometry, solid angles and coordinates.
#include "xec/geometry.hpp"
#include "xec/solid_angle.hpp"

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <cstddef>
#include <cstdint>
#include <memory>

#include "arrays.hpp"
#include "bind.hpp"

namespace xec::python {

namespace {

std::unique_ptr<Geometry> make_geometry(const Array<double>& position, const Array<double>& normal,
                                        const Array<std::int8_t>& face) {
    expect_shape(face, "face", {-1});
    expect_shape(position, "position", {face.size(), 3});
    expect_shape(normal, "normal", {face.size(), 3});
    return std::make_unique<Geometry>(position.data(), normal.data(), face.data(),
                                      static_cast<std::size_t>(face.size()));
}

Array<double> solid_angle(const Geometry& geometry, const Array<double>& points, unsigned threads) {
    expect_shape(points, "points", {-1, 3});
    const py::ssize_t count = points.shape(0);
    Array<double> out({count, static_cast<py::ssize_t>(geometry.size())});
    const double* from = points.data();
    double* to = out.mutable_data();
    const py::gil_scoped_release release;
    xec::solid_angle(geometry, from, static_cast<std::size_t>(count), to, threads);
    return out;
}

/// Apply a conversion of one vector to (n, 3).
template <Vec3 (*convert)(const Vec3&)> Array<double> converted(const Array<double>& vectors) {
    expect_shape(vectors, "vectors", {-1, 3});
    Array<double> out({vectors.shape(0), py::ssize_t{3}});
    const double* from = vectors.data();
    double* to = out.mutable_data();
    const py::ssize_t size = vectors.size();
    const py::gil_scoped_release release;
    for (py::ssize_t i = 0; i < size; i += 3) {
        const Vec3 result = convert({from[i], from[i + 1], from[i + 2]});
        to[i] = result[0];
        to[i + 1] = result[1];
        to[i + 2] = result[2];
    }
    return out;
}

} // namespace

void bind_geometry(py::module_& module) {
    py::class_<Geometry>(module, "Geometry")
        .def(py::init(&make_geometry), as_is("position"), as_is("normal"), as_is("face"));
    module.def("solid_angle", &solid_angle, py::arg("geometry"), as_is("points"),
               py::arg("threads"));
    module.def("uvw_to_xyz", &converted<uvw_to_xyz>, as_is("uvw"));
    module.def("xyz_to_uvw", &converted<xyz_to_uvw>, as_is("xyz"));
}

} // namespace xec::python
