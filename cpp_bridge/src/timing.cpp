#include "xec/timing.hpp"

#include "xec/dead_channels.hpp"
#include "xec/normalisation.hpp"

#include <cmath>
#include <cstddef>
#include <limits>

namespace xec {

namespace {

constexpr double kSpeedOfLight = 2.99792458e10; // [cm/s]

/// Weighted mean of the channels nearer than `reach` resolutions to `centre`.
double mean_near(const TimingWorkspace& channels, double centre, double reach) noexcept {
    double sum = 0;
    double total = 0;
    for (std::size_t i = 0; i < channels.weight.size(); ++i) {
        const bool near = std::abs(channels.emission[i] - centre) < reach * channels.sigma[i];
        const double weight = near ? channels.weight[i] : 0.0;
        sum += weight * channels.emission[i];
        total += weight;
    }
    return total > 0 ? sum / total : std::numeric_limits<double>::quiet_NaN();
}

} // namespace

template <typename Real>
double emission_time(const Geometry& geometry, const TimingConstants& constants, const Real* npho,
                     const Real* time, const bool* dead, const Vec3& point,
                     TimingWorkspace& workspace) noexcept {
    const Columns& c = geometry.position();
    const auto [px, py, pz] = point;
    const double delay = constants.refractive_index / kSpeedOfLight;
    const double one = constants.sigma_photoelectron * constants.sigma_photoelectron;
    const double floor = constants.sigma_floor * constants.sigma_floor;
    for (std::size_t i = 0; i < geometry.size(); ++i) {
        const double efficiency = i < geometry.mppcs() ? constants.pde_mppc : constants.qe_pmt;
        const double charge = static_cast<double>(npho[i]) * efficiency;
        const auto t = static_cast<double>(time[i]);
        const bool good = !is_missing(npho, dead, i) && std::abs(t) < kInvalidAbove &&
                          charge > constants.least_photoelectrons;
        const double dx = px - c.x[i];
        const double dy = py - c.y[i];
        const double dz = pz - c.z[i];
        const double distance = std::sqrt(dx * dx + dy * dy + dz * dz);
        const double variance = one / (good ? charge : 1.0) + floor;
        workspace.emission[i] = (good ? t : 0.0) - distance * delay;
        workspace.sigma[i] = std::sqrt(variance);
        workspace.weight[i] = good ? 1 / variance : 0.0;
    }
    double mean = mean_near(workspace, 0.0, std::numeric_limits<double>::infinity());
    for (int round = 0; round < 2; ++round) {
        mean = mean_near(workspace, mean, constants.outlier);
    }
    return mean;
}

template double emission_time(const Geometry&, const TimingConstants&, const float*, const float*,
                              const bool*, const Vec3&, TimingWorkspace&) noexcept;
template double emission_time(const Geometry&, const TimingConstants&, const double*, const double*,
                              const bool*, const Vec3&, TimingWorkspace&) noexcept;

} // namespace xec
