#include "quantities.hpp"

#include "xec/geometry.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <iterator>
#include <string>
#include <string_view>
#include <utility>

namespace xec {

namespace {

constexpr std::string_view kPosition = "uvwFI";
constexpr std::string_view kAxes = "xyz";
/// The order of the result files; others follow as the manifest has them.
constexpr std::array<std::string_view, 10> kOrder{"energy", "theta", "phi", "timing", "u",
                                                  "v",      "w",     "x",   "y",      "z"};

std::size_t rank(const std::string& name) {
    return static_cast<std::size_t>(std::find(kOrder.begin(), kOrder.end(), name) - kOrder.begin());
}

} // namespace

void Quantities::append(const Manifest& manifest, const Tensor& tensor, std::size_t index,
                        std::vector<Entry>& values, std::vector<Entry>& sigmas) {
    for (const Task& task : manifest.tasks) {
        const bool matches = tensor.name == task.name || tensor.name == task.name + "_sigma";
        if (!matches || task.outputs.size() != tensor.width) {
            continue;
        }
        const bool sigma = tensor.name != task.name;
        for (std::size_t k = 0; k < tensor.width; ++k) {
            const Output& output = task.outputs[k];
            const std::string name = output.name + (sigma ? "_sigma" : "");
            (sigma ? sigmas : values).push_back({{name, output.unit}, {index, k, false}});
        }
    }
    if (tensor.name == kPosition) {
        for (std::size_t axis = 0; axis < kAxes.size(); ++axis) {
            values.push_back({{std::string(kAxes.substr(axis, 1)), "cm"}, {index, axis, true}});
        }
    }
}

Quantities::Quantities(const Manifest& manifest, const std::vector<Tensor>& tensors) {
    std::vector<Entry> values;
    std::vector<Entry> sigmas;
    for (std::size_t t = 0; t < tensors.size(); ++t) {
        append(manifest, tensors[t], t, values, sigmas);
    }
    std::stable_sort(values.begin(), values.end(), [](const Entry& a, const Entry& b) {
        return rank(a.quantity.name) < rank(b.quantity.name);
    });
    std::move(sigmas.begin(), sigmas.end(), std::back_inserter(values));
    for (Entry& entry : values) {
        names_.push_back(std::move(entry.quantity));
        sources_.push_back(entry.source);
    }
}

bool Quantities::fill(const std::vector<const float*>& rows, float* values) const {
    bool finite = true;
    for (std::size_t q = 0; q < sources_.size(); ++q) {
        const auto& [tensor, column, cartesian] = sources_[q];
        const float* row = rows[tensor];
        values[q] = cartesian ? static_cast<float>(uvw_to_xyz({row[0], row[1], row[2]})[column])
                              : row[column];
        finite = finite && std::isfinite(values[q]);
    }
    return finite;
}

} // namespace xec
