/// The conventional time: the mean over channels of when their light was emitted.
#pragma once

#include "xec/geometry.hpp"

#include <cstddef>
#include <vector>

namespace xec {

/// Of the channels' clocks: resolutions [s], and the photoelectrons a channel needs.
struct TimingConstants {
    double sigma_photoelectron = 10e-9; ///< divided by the root of the photoelectrons
    double sigma_floor = 0.1e-9;
    double least_photoelectrons = 5.0;
    double outlier = 4.0; ///< channels this many sigma off the mean are dropped, twice
    double pde_mppc = 0.12;
    double qe_pmt = 0.16;
    double refractive_index = 1.61;
};

/// Memory of one event, allocated once.
class TimingWorkspace {
  public:
    explicit TimingWorkspace(std::size_t sensors)
        : emission(sensors), sigma(sensors), weight(sensors) {}

    std::vector<double> emission;
    std::vector<double> sigma;
    std::vector<double> weight;
};

/// Mean of t_i - r_i n / c [s] over channels with light and a time, each with the inverse square
/// of its resolution; NaN without any. The definition of `xec_deploy.physics.mean_emission_time`.
///
/// @param time   (sensors) [s]
/// @param dead   flags, or null
/// @param point  xyz [cm] the light comes from
template <typename Real>
[[nodiscard]] double emission_time(const Geometry& geometry, const TimingConstants& constants,
                                   const Real* npho, const Real* time, const bool* dead,
                                   const Vec3& point, TimingWorkspace& workspace) noexcept;

} // namespace xec
