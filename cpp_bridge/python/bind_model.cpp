/// The deployed network.
#include "xec/error.hpp"
#include "xec/model.hpp"

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h> // std::optional, std::vector
#include <pybind11/stl/filesystem.h>

#include <cstddef>
#include <cstdint>
#include <exception>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "arrays.hpp"
#include "bind.hpp"

namespace xec::python {

namespace {

constexpr auto kWidth = static_cast<py::ssize_t>(kSensors);

std::unique_ptr<Model> open_model(const std::filesystem::path& path, const std::string& precision,
                                  unsigned threads, std::size_t batch,
                                  const std::filesystem::path& runtime) {
    const py::gil_scoped_release release;
    return std::make_unique<Model>(path, ModelOptions{precision, threads, batch, runtime});
}

RawEvents raw_events(const Array<float>& npho, const Array<float>& time,
                     const std::optional<Array<bool>>& dead) {
    expect_shape(npho, "npho", {-1, kWidth});
    expect_shape(time, "time", {npho.shape(0), kWidth});
    if (dead) {
        expect_shape(*dead, "dead", {npho.shape(0), kWidth});
    }
    return {static_cast<std::size_t>(npho.shape(0)), npho.data(), time.data(),
            dead ? dead->data() : nullptr};
}

/// Output name -> (events, width).
py::dict run(const Model& model, const Array<float>& npho, const Array<float>& time,
             const std::optional<Array<bool>>& dead) {
    const RawEvents events = raw_events(npho, time, dead);
    py::dict outputs;
    std::vector<float*> out;
    for (const auto& [name, width] : model.tensors()) {
        Array<float> values({npho.shape(0), static_cast<py::ssize_t>(width)});
        out.push_back(values.mutable_data());
        outputs[name.c_str()] = std::move(values);
    }
    {
        const py::gil_scoped_release release;
        model.run(events, out);
    }
    return outputs;
}

/// ((events, quantities), (events) status).
std::pair<Array<float>, Array<std::uint32_t>> evaluate(const Model& model, const Array<float>& npho,
                                                       const Array<float>& time,
                                                       const std::optional<Array<bool>>& dead) {
    const RawEvents events = raw_events(npho, time, dead);
    Array<float> values({npho.shape(0), static_cast<py::ssize_t>(model.quantities().size())});
    Array<std::uint32_t> status(npho.shape(0));
    float* const to = values.mutable_data();
    std::uint32_t* const flags = status.mutable_data();
    {
        const py::gil_scoped_release release;
        model.evaluate(events, to, flags);
    }
    return {std::move(values), std::move(status)};
}

Array<float> inpaint(const Model& model, const Array<float>& npho, const Array<float>& time,
                     const Array<bool>& dead) {
    expect_shape(npho, "npho", {kWidth});
    expect_shape(time, "time", {kWidth});
    expect_shape(dead, "dead", {kWidth});
    Array<float> filled(kWidth);
    const float* const photons = npho.data();
    const float* const seconds = time.data();
    const bool* const flags = dead.data();
    float* const to = filled.mutable_data();
    {
        const py::gil_scoped_release release;
        model.inpaint(photons, seconds, flags, to);
    }
    return filled;
}

/// (name, unit) of the quantities.
std::vector<std::pair<std::string, std::string>> quantities(const Model& model) {
    std::vector<std::pair<std::string, std::string>> pairs;
    for (const auto& [name, unit] : model.quantities()) {
        pairs.emplace_back(name, unit);
    }
    return pairs;
}

/// Errors of the library become those of the package, which carry the exit codes.
// NOLINTNEXTLINE(performance-unnecessary-value-param): the signature is pybind11's
void translate(std::exception_ptr pointer) {
    const auto raise = [](const char* name, const Error& error) {
        const py::object type = py::module_::import("xec_deploy.errors").attr(name);
        py::set_error(type, error.what());
    };
    try {
        if (pointer) {
            std::rethrow_exception(pointer);
        }
    } catch (const CheckFailed& error) {
        raise("CheckFailed", error);
    } catch (const UsageError& error) {
        raise("UsageError", error);
    } catch (const Error& error) {
        raise("BundleError", error);
    }
}

} // namespace

void bind_model(py::module_& module) {
    py::register_local_exception_translator(&translate);
    module.def("parity_gate", &parity_gate, py::arg("precision"));
    py::class_<Model>(module, "Model")
        .def(py::init(&open_model), py::arg("path"), py::kw_only(), py::arg("precision"),
             py::arg("threads"), py::arg("batch"), py::arg("runtime"))
        .def("run", &run, as_is("npho"), as_is("time"), as_is("dead"))
        .def("evaluate", &evaluate, as_is("npho"), as_is("time"), as_is("dead"))
        .def("inpaint", &inpaint, as_is("npho"), as_is("time"), as_is("dead"))
        .def_property_readonly("quantities", &quantities)
        .def_property_readonly("inpaints", &Model::inpaints)
        .def_property_readonly("runtime", &Model::runtime)
        .def_property_readonly("name", [](const Model& model) { return model.manifest().name; });
}

} // namespace xec::python
