/// Raw events as they lie in memory.
#pragma once

#include <cstddef>

namespace xec {

/// Many events of all sensors of a geometry, row-major; a view, nothing is owned.
template <typename Real> struct Events {
    const Real* npho = nullptr; ///< (count, sensors) photons
    const bool* dead = nullptr; ///< flags, or null for no dead channels
    std::size_t dead_stride =
        0; ///< from one event's flags to the next: sensors, or 0 for common ones
    std::size_t count = 0;
};

} // namespace xec
