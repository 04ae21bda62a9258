/// Raw events as they lie in memory.
#pragma once

#include <cstddef>

namespace xec {

/// Many events of all sensors of a geometry, row-major; a view, nothing is owned.
template <typename Real> struct Events {
    const Real* npho = nullptr; ///< (count, sensors) photons
    const bool* dead = nullptr; ///< flags, or null for no dead channels
    /// From one event's flags to the next: the number of sensors, or 0 for flags common to all.
    std::size_t dead_stride = 0;
    std::size_t count = 0;

    [[nodiscard]] const bool* dead_of(std::size_t event) const noexcept {
        return dead == nullptr ? nullptr : dead + event * dead_stride;
    }
};

} // namespace xec
