/// What each file of bindings adds to the module.
#pragma once

#include <pybind11/pybind11.h>

namespace xec::python {

void bind_dead_channels(pybind11::module_& module);
void bind_geometry(pybind11::module_& module);
void bind_model(pybind11::module_& module);
void bind_normalisation(pybind11::module_& module);
void bind_position_fit(pybind11::module_& module);
void bind_reconstruction(pybind11::module_& module);

} // namespace xec::python
