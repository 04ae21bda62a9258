/// The Python module `xec_deploy._cpp`; its users' face is `xec_deploy.cpp`.
///
/// Arrays are taken as they lie in memory or refused, never converted: the facade does that, where
/// it can say in a sentence what was wrong.

#include <pybind11/pybind11.h>

#include "bind.hpp"

PYBIND11_MODULE(_cpp, module) {
    module.attr("__version__") = XEC_VERSION;
    xec::python::bind_geometry(module);
    xec::python::bind_model(module);
    xec::python::bind_normalisation(module);
    xec::python::bind_position_fit(module);
    xec::python::bind_dead_channels(module);
    xec::python::bind_reconstruction(module);
}
