/// The light of the inner face as an image, and what can be read off it without a fit.
#pragma once

#include "xec/geometry.hpp"

#include <array>
#include <cstddef>

namespace xec {

inline constexpr std::size_t kRows = 93;
inline constexpr std::size_t kColumns = 44;
static_assert(kRows * kColumns == kMppcs);

/// A count above this is no measurement for the fit.
inline constexpr double kFitBelow = 1e9;

/// Photons of the MPPCs (kMppcs); 0 where dead, not finite, not positive or not sensible.
template <typename Real>
void live_light(const Real* npho, const bool* dead, double* light) noexcept;

/// Sums over rows and over columns.
struct Projections {
    std::array<double, kColumns> on_u{};
    std::array<double, kRows> on_v{};
};

Projections project(const double* light) noexcept;

/// First sensor of the window of 5 x 5, at the borders cut, with the most light per live sensor.
///
/// `first` and `last` are row and column of its corners, `last` included.
struct Window {
    std::array<std::size_t, 2> first{};
    std::array<std::size_t, 2> last{};
};

Window brightest_window(const double* light) noexcept;

} // namespace xec
