/// NumPy arrays as the bindings take them: as they lie in memory, or not at all.
#pragma once

#include "xec/events.hpp"

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <cstddef>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

namespace xec::python {

namespace py = pybind11;

template <typename T> using Array = py::array_t<T, py::array::c_style>;

/// An argument that is refused, not converted, where its type or layout differs.
inline py::arg as_is(const char* name) {
    return py::arg(name).noconvert();
}

/// @param shape  the expected one, a negative length stands for any
/// @throws std::invalid_argument naming the array
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

/// Events of `sensors` channels; `dead` is (events, sensors), or (1, sensors) for all alike.
template <typename Real>
Events<Real> make_events(const Array<Real>& npho, const std::optional<Array<bool>>& dead,
                         std::size_t sensors) {
    const auto width = static_cast<py::ssize_t>(sensors);
    expect_shape(npho, "npho", {-1, width});
    Events<Real> events;
    events.npho = npho.data();
    events.count = static_cast<std::size_t>(npho.shape(0));
    if (dead) {
        const bool common = dead->ndim() == 2 && dead->shape(0) == 1;
        expect_shape(*dead, "dead", {common ? 1 : npho.shape(0), width});
        events.dead = dead->data();
        events.dead_stride = common ? 0 : sensors;
    }
    return events;
}

} // namespace xec::python
