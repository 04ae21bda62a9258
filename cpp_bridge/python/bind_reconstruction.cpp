/// The conventional reconstruction.
#include "xec/reconstruction.hpp"

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h> // std::optional, std::vector, std::array

#include <algorithm>
#include <array>
#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "arrays.hpp"
#include "bind.hpp"
#include "fit_arrays.hpp"

namespace xec::python {

namespace {

/// For each group of faces the polynomials in u, v and w.
using Corrections = std::array<std::array<Polynomial, 3>, EnergyConstants::kGroups>;

std::unique_ptr<Reconstruction> make_reconstruction(
    const Geometry& geometry, const std::vector<double>& sensor_weight,
    const std::array<double, kFaces>& face_weight, const Corrections& face_correction,
    double shallow_below, const Polynomial& shallow, const std::string& recovery,
    const std::array<double, 4>& u, const std::array<double, 4>& v, const Polynomial& w,
    const Polynomial& w_light, const std::array<double, 2>& w_range, const Polynomial& time,
    double time_light) {
    ReconstructionConstants constants;
    constants.energy.sensor_weight = sensor_weight;
    constants.energy.face_weight = face_weight;
    for (std::size_t group = 0; group < face_correction.size(); ++group) {
        const auto& [of_u, of_v, of_w] = face_correction[group];
        constants.energy.face_correction[group] = {of_u, of_v, of_w};
    }
    constants.energy.shallow_below = shallow_below;
    constants.energy.shallow = shallow;
    constants.recovery = dead_method(recovery);
    constants.u = u;
    constants.v = v;
    constants.w = w;
    constants.w_light = w_light;
    constants.w_range = w_range;
    constants.time = time;
    constants.time_light = time_light;
    return std::make_unique<Reconstruction>(geometry, constants);
}

/// (the arrays of the fits, light of the faces, largest solid angle, emission time, uvw, energy,
/// time)
py::tuple as_arrays(const std::vector<Observed>& observed,
                    const std::vector<Reconstructed>& reconstructed) {
    const auto count = static_cast<py::ssize_t>(observed.size());
    std::vector<PositionFit> fits(observed.size());
    Array<double> light({count, py::ssize_t{kFaces}});
    Array<double> largest(count);
    Array<double> emission(count);
    Array<double> uvw({count, py::ssize_t{3}});
    Array<double> energy(count);
    Array<double> time(count);
    for (std::size_t i = 0; i < fits.size(); ++i) {
        fits[i] = observed[i].fit;
        std::copy(observed[i].light.begin(), observed[i].light.end(),
                  light.mutable_data() + kFaces * i);
        largest.mutable_data()[i] = observed[i].largest;
        emission.mutable_data()[i] = observed[i].emission_time;
        std::copy(reconstructed[i].uvw.begin(), reconstructed[i].uvw.end(),
                  uvw.mutable_data() + 3 * i);
        energy.mutable_data()[i] = reconstructed[i].energy;
        time.mutable_data()[i] = reconstructed[i].time;
    }
    return py::make_tuple(fit_arrays(fits), light, largest, emission, uvw, energy, time);
}

template <typename Real>
py::tuple reconstruct(const Reconstruction& reconstruction, const Array<Real>& npho,
                      const Array<Real>& time, const std::optional<Array<bool>>& dead,
                      const std::optional<Array<double>>& start, unsigned threads) {
    const Events<Real> events = make_events(npho, dead, reconstruction.geometry().size());
    expect_shape(time, "time", {npho.shape(0), npho.shape(1)});
    if (start) {
        expect_shape(*start, "start", {npho.shape(0), 3});
    }
    const Real* const times = time.data();
    const double* const starts = start ? start->data() : nullptr;
    std::vector<Observed> observed(events.count);
    std::vector<Reconstructed> reconstructed(events.count);
    {
        const py::gil_scoped_release release;
        xec::reconstruct(reconstruction, events, times, starts, observed.data(),
                         reconstructed.data(), threads);
    }
    return as_arrays(observed, reconstructed);
}

} // namespace

void bind_reconstruction(py::module_& module) {
    py::class_<Reconstruction>(module, "Reconstruction")
        .def(py::init(&make_reconstruction), py::arg("geometry"), py::kw_only(),
             py::arg("sensor_weight"), py::arg("face_weight"), py::arg("face_correction"),
             py::arg("shallow_below"), py::arg("shallow"), py::arg("recovery"), py::arg("u"),
             py::arg("v"), py::arg("w"), py::arg("w_light"), py::arg("w_range"), py::arg("time"),
             py::arg("time_light"));
    module.def("reconstruct", &reconstruct<float>, py::arg("reconstruction"), as_is("npho"),
               as_is("time"), as_is("dead"), as_is("start"), py::arg("threads"));
    module.def("reconstruct", &reconstruct<double>, py::arg("reconstruction"), as_is("npho"),
               as_is("time"), as_is("dead"), as_is("start"), py::arg("threads"));
}

} // namespace xec::python
