/// Runs a bundle without Python: `reconstruct BUNDLE [EVENTS [PRECISION]]`.
///
/// The events are the bundle's own golden events, taken one by one as an analyzer gets them. For
/// each it prints the quantities with their units and the status, and at the end the largest
/// difference from the float64 reference in resolutions of the detector.
#include "xec/error.hpp"
#include "xec/model.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <exception>
#include <iomanip>
#include <iostream>
#include <string>
#include <vector>

namespace {

/// The events a lone ONNX file has not got.
const xec::GoldenEvents& events_of(const xec::Model& model) {
    if (model.golden() == nullptr) {
        throw xec::UsageError("a lone ONNX file has no golden events", {}, "Pass a bundle.");
    }
    return *model.golden();
}

void print_header(const xec::Model& model) {
    std::cout << model.manifest().name << " on " << model.runtime() << "\n\nevent  status";
    for (const auto& [name, unit] : model.quantities()) {
        std::string title = name;
        if (!unit.empty()) {
            title.append(" [").append(unit).append("]");
        }
        std::cout << std::setw(14) << title;
    }
    std::cout << '\n';
}

void print_event(const xec::Model& model, const xec::GoldenEvents& golden, std::size_t event) {
    const std::size_t first = event * xec::kSensors;
    std::vector<float> values(model.quantities().size());
    std::uint32_t status = 0;
    model.evaluate({1, &golden.npho[first], &golden.time[first], &golden.dead[first]},
                   values.data(), &status);
    std::cout << std::setw(5) << event << std::setw(8) << status;
    for (const float value : values) {
        std::cout << std::setw(14) << value;
    }
    std::cout << '\n';
}

/// Fill the dead channels of one event, the call an analyzer makes before its own reconstruction.
void print_filled(const xec::Model& model, const xec::GoldenEvents& golden, std::size_t event) {
    const std::size_t first = event * xec::kSensors;
    std::vector<float> filled(xec::kSensors);
    model.inpaint(&golden.npho[first], &golden.time[first], &golden.dead[first], filled.data());
    double sum = 0;
    std::size_t dead = 0;
    for (std::size_t sensor = 0; sensor < xec::kSensors; ++sensor) {
        if (golden.dead[first + sensor]) {
            sum += filled[sensor];
            ++dead;
        }
    }
    std::cout << "event " << event << ": " << dead << " dead channels, " << sum
              << " photons filled in\n";
}

void print_parity(const xec::Model& model, const xec::GoldenEvents& golden) {
    std::vector<std::vector<float>> values;
    std::vector<float*> out;
    for (const auto& [name, width] : model.tensors()) {
        values.emplace_back(golden.count * width);
        out.push_back(values.back().data());
    }
    model.run({golden.count, golden.npho.data(), golden.time.data(), golden.dead.get()}, out);
    std::cout << "\nlargest difference from float64 [detector sigma]\n";
    for (std::size_t i = 0; i < out.size(); ++i) {
        const std::string& name = model.tensors()[i].name;
        const double worst = xec::worst_difference(model.manifest(), name, golden.outputs.at(name),
                                                   out[i], golden.count);
        std::cout << "  " << name << ' ' << worst << '\n';
    }
}

} // namespace

int main(int argc, char** argv) {
    const std::vector<std::string> arguments(argv, argv + argc);
    if (arguments.size() < 2 || arguments.size() > 4) {
        std::cerr << "usage: reconstruct BUNDLE [EVENTS [PRECISION]]\n";
        return 2;
    }
    try {
        xec::ModelOptions options;
        if (arguments.size() > 3) {
            options.precision = arguments[3];
        }
        const xec::Model model(arguments[1], options);
        const xec::GoldenEvents& golden = events_of(model);
        const std::size_t count =
            arguments.size() > 2
                ? std::min<std::size_t>(std::strtoul(arguments[2].c_str(), nullptr, 10),
                                        golden.count)
                : golden.count;
        print_header(model);
        for (std::size_t event = 0; event < count; ++event) {
            if (model.inpaints()) {
                print_filled(model, golden, event);
            } else {
                print_event(model, golden, event);
            }
        }
        print_parity(model, golden);
    } catch (const std::exception& error) {
        std::cerr << "error: " << error.what() << '\n';
        return 2;
    }
    return 0;
}
