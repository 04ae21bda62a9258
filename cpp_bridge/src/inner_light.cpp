#include "inner_light.hpp"

#include <algorithm>
#include <array>
#include <cstddef>

#include "clones.hpp"

namespace xec {

namespace {

constexpr std::size_t kHalf = 2;    // of a window
constexpr double kFewestLive = 9.0; // sensors a window counts as having: few may be noise
using Row = std::array<double, kColumns + 2 * kHalf>; // with empty margins

/// Light and live sensors of five rows, by column.
void add_rows(const double* light, std::size_t row, Row& sum, Row& live) noexcept {
    const std::size_t first = row < kHalf ? 0 : row - kHalf;
    const std::size_t last = std::min(row + kHalf, kRows - 1);
    for (std::size_t r = first; r <= last; ++r) {
        const double* const from = light + r * kColumns;
        for (std::size_t c = 0; c < kColumns; ++c) {
            sum[kHalf + c] += from[c];
            live[kHalf + c] += from[c] > 0 ? 1.0 : 0.0;
        }
    }
}

/// Mean light of the windows around each sensor of a row.
XEC_CLONES void window_means(const double* light, std::size_t row,
                             std::array<double, kColumns>& mean) noexcept {
    Row sum{};
    Row live{};
    add_rows(light, row, sum, live);
    for (std::size_t c = 0; c < kColumns; ++c) {
        const double photons = sum[c] + sum[c + 1] + sum[c + 2] + sum[c + 3] + sum[c + 4];
        const double sensors = live[c] + live[c + 1] + live[c + 2] + live[c + 3] + live[c + 4];
        mean[c] = photons / (sensors > kFewestLive ? sensors : kFewestLive);
    }
}

} // namespace

template <typename Real>
XEC_CLONES void live_light(const Real* npho, const bool* dead, double* light) noexcept {
    for (std::size_t i = 0; i < kMppcs; ++i) {
        const auto n = static_cast<double>(npho[i]);
        light[i] = n > 0 && n <= kFitBelow ? n : 0.0;
    }
    if (dead != nullptr) {
        for (std::size_t i = 0; i < kMppcs; ++i) {
            light[i] = dead[i] ? 0.0 : light[i];
        }
    }
}

template void live_light(const float*, const bool*, double*) noexcept;
template void live_light(const double*, const bool*, double*) noexcept;

Projections project(const double* light) noexcept {
    Projections sums;
    for (std::size_t row = 0; row < kRows; ++row) {
        for (std::size_t column = 0; column < kColumns; ++column) {
            sums.on_u[column] += light[row * kColumns + column];
            sums.on_v[row] += light[row * kColumns + column];
        }
    }
    return sums;
}

Window brightest_window(const double* light) noexcept {
    std::array<std::size_t, 2> centre{};
    double best = 0;
    for (std::size_t row = 0; row < kRows; ++row) {
        std::array<double, kColumns> mean{};
        window_means(light, row, mean);
        for (std::size_t column = 0; column < kColumns; ++column) {
            if (mean[column] > best) {
                best = mean[column];
                centre = {row, column};
            }
        }
    }
    const auto low = [](std::size_t at) { return at < kHalf ? 0 : at - kHalf; };
    return {{low(centre[0]), low(centre[1])},
            {std::min(centre[0] + kHalf, kRows - 1), std::min(centre[1] + kHalf, kColumns - 1)}};
}

} // namespace xec
