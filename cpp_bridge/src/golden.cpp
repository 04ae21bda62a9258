#include "xec/golden.hpp"

#include "xec/error.hpp"
#include "xec/geometry.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <string_view>
#include <utility>

#include "file.hpp"
#include "npz.hpp"

namespace xec {

namespace {

constexpr std::size_t kPackedFlags = (kSensors + 7) / 8;
constexpr double kFp32Gate = 0.001;
/// Gates by the beginning of the precision's name: there are `int8-cpu` and `int8-trt`.
constexpr std::array<std::pair<std::string_view, double>, 4> kGates{
    {{"fp32", kFp32Gate}, {"fp16", 0.02}, {"bf16", 0.02}, {"int8", 0.05}}};
/// Gates that a single event may be off in less than fp32.
constexpr double kSingleEvent = 4.0;
/// The fp32 gate of an output without a detector resolution, relative to its spread.
constexpr double kRelativeGate = 1e-5;
constexpr double kSmallestScale = 1e-30;

using Arrays = std::map<std::string, NpyArray>;

template <typename T> std::vector<T> copied(const NpyArray& array) {
    std::vector<T> values(array.data.size() / sizeof(T));
    // The bytes in the file are not aligned.
    std::memcpy(values.data(), array.data.data(), array.data.size());
    return values;
}

const NpyArray& expect(const Arrays& arrays, const std::string& name, const std::string& type,
                       const std::vector<std::size_t>& shape, const std::string& where) {
    const auto found = arrays.find(name);
    if (found == arrays.end() || found->second.type != type || found->second.shape != shape) {
        throw BundleError("golden events cannot be read (the array '" + name +
                              "' is missing or has a wrong type or shape)",
                          where);
    }
    return found->second;
}

/// Standard deviation over the events and largest magnitude of one component.
std::pair<double, double> extent(const GoldenOutput& reference, std::size_t component,
                                 std::size_t events) {
    double sum = 0;
    for (std::size_t i = 0; i < events; ++i) {
        sum += reference.values[i * reference.width + component];
    }
    const double mean = sum / static_cast<double>(events);
    double squares = 0;
    double largest = 0;
    for (std::size_t i = 0; i < events; ++i) {
        const double value = reference.values[i * reference.width + component];
        squares += (value - mean) * (value - mean);
        largest = std::max(largest, std::abs(value));
    }
    return {std::sqrt(squares / static_cast<double>(events)), largest};
}

/// What a difference of each component is measured in.
std::vector<double> yardstick(const Manifest& manifest, const std::string& output,
                              const GoldenOutput& reference, std::size_t events) {
    const auto task = std::find_if(manifest.tasks.begin(), manifest.tasks.end(),
                                   [&](const Task& t) { return t.name == output; });
    std::vector<double> unit;
    if (task != manifest.tasks.end() && task->outputs.size() == reference.width) {
        for (const Output& component : task->outputs) {
            if (component.detector_sigma) {
                unit.push_back(*component.detector_sigma);
            }
        }
    }
    if (unit.size() == reference.width) {
        return unit;
    }
    unit.clear();
    double largest = 0;
    for (std::size_t k = 0; k < reference.width; ++k) {
        const auto [spread, magnitude] = extent(reference, k, events);
        unit.push_back(spread);
        largest = std::max(largest, magnitude);
    }
    for (double& value : unit) {
        value = std::max({value, largest, kSmallestScale}) * kRelativeGate / kFp32Gate;
    }
    return unit;
}

} // namespace

GoldenEvents load_golden(const std::string& path) {
    const std::string bytes = read_file(path);
    const Arrays arrays = parse_npz(bytes, path);
    GoldenEvents golden;
    const auto npho = arrays.find("npho");
    golden.count =
        npho == arrays.end() || npho->second.shape.empty() ? 0 : npho->second.shape.front();
    golden.npho = copied<float>(expect(arrays, "npho", "<f4", {golden.count, kSensors}, path));
    golden.time = copied<float>(expect(arrays, "time", "<f4", {golden.count, kSensors}, path));
    const std::string_view packed =
        expect(arrays, "dead", "|u1", {golden.count, kPackedFlags}, path).data;
    golden.dead.reset(new bool[golden.count * kSensors]); // NOLINT(*-owning-memory)
    for (std::size_t event = 0; event < golden.count; ++event) {
        for (std::size_t sensor = 0; sensor < kSensors; ++sensor) {
            const unsigned flags =
                static_cast<unsigned char>(packed[event * kPackedFlags + sensor / 8]);
            golden.dead[event * kSensors + sensor] = ((flags >> (7U - sensor % 8U)) & 1U) != 0;
        }
    }
    constexpr std::string_view kPrefix = "out_";
    for (const auto& [name, array] : arrays) {
        if (name.compare(0, kPrefix.size(), kPrefix) == 0) {
            const std::size_t width = array.shape.empty() ? 0 : array.shape.back();
            golden.outputs[name.substr(kPrefix.size())] = {
                width, copied<double>(expect(arrays, name, "<f8", {golden.count, width}, path))};
        }
    }
    return golden;
}

double parity_gate(const std::string& precision) {
    for (const auto& [name, gate] : kGates) {
        if (precision.compare(0, name.size(), name) == 0) {
            return gate;
        }
    }
    throw BundleError("there is no gate for the precision '" + precision + "'");
}

double single_event_gate(const std::string& precision) {
    return parity_gate(precision) * (precision == "fp32" ? 1.0 : kSingleEvent);
}

double worst_difference(const Manifest& manifest, const std::string& output,
                        const GoldenOutput& reference, const float* values, std::size_t events) {
    const std::vector<double> unit = yardstick(manifest, output, reference, events);
    double worst = 0;
    for (std::size_t i = 0; i < events * reference.width; ++i) {
        const double difference = std::abs(static_cast<double>(values[i]) - reference.values[i]) /
                                  unit[i % reference.width];
        // NaN must fail a gate, and NaN > gate is false.
        if (!std::isfinite(difference)) {
            return std::numeric_limits<double>::infinity();
        }
        worst = std::max(worst, difference);
    }
    return worst;
}

} // namespace xec
