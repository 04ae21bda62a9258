#include <pybind11/pybind11.h>

PYBIND11_MODULE(_cpp, module) { module.attr("__version__") = XEC_VERSION; }
