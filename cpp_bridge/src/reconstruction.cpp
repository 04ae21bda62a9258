#include "xec/reconstruction.hpp"

#include "xec/parallel.hpp"
#include "xec/solid_angle.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <stdexcept>
#include <utility>

#include "checks.hpp"

namespace xec {

namespace {

constexpr double kLightUnit = 1e6;         // photons, in the logarithms of the constants
constexpr double kDeepestForTiming = 20.0; // [cm]
constexpr double kDeepestForDepth = 30.0;  // [cm]

/// From the centre of the light to the first interaction, which is nearer to the target.
double corrected(const std::array<double, 4>& constants, double x, double w) noexcept {
    const auto& [offset, factor, slope, cubic] = constants;
    return offset + x * (factor + slope * w + cubic * x * x);
}

} // namespace

void ReconstructionConstants::check(std::size_t sensors) const {
    energy.check(sensors);
    expect_finite(u, "u");
    expect_finite(v, "v");
    expect_finite(w, "w");
    expect_finite(w_light, "w_light");
    expect_finite(w_range, "w_range");
    expect_finite(time, "time");
    expect_finite(time_light, "time_light");
    if (!(w_range[0] <= w_range[1])) {
        throw std::invalid_argument("w_range does not ascend");
    }
    if (recovery == DeadMethod::fit) {
        throw std::invalid_argument("the recovery 'fit' knows no PMTs; 'solid_angle' does");
    }
}

Reconstructed interpret(const ReconstructionConstants& constants,
                        const Observed& observed) noexcept {
    double light = 0;
    for (const double of_face : observed.light) {
        light += of_face;
    }
    const double log_light =
        light > 0 ? std::log(light / kLightUnit) : std::numeric_limits<double>::quiet_NaN();
    const Vec3& seen = observed.fit.uvw;
    const double depth = std::clamp(seen[2], 0.0, kDeepestForDepth);
    const double w = evaluate(constants.w, depth) + log_light * evaluate(constants.w_light, depth);
    Reconstructed result{};
    result.uvw = {corrected(constants.u, seen[0], depth), corrected(constants.v, seen[1], depth),
                  std::clamp(w, constants.w_range[0], constants.w_range[1])};
    result.energy = energy(constants.energy, observed.light, seen, observed.largest);
    const double offset =
        evaluate(constants.time, std::clamp(result.uvw[2], 0.0, kDeepestForTiming)) +
        constants.time_light * log_light;
    result.time = observed.emission_time - offset;
    return result;
}

Reconstruction::Workspace::Workspace(const Reconstruction& reconstruction)
    : fit_(reconstruction.fitter_), timing_(reconstruction.geometry().size()),
      fractions_(reconstruction.geometry().size()), predicted_(reconstruction.geometry().size()) {}

Reconstruction::Reconstruction(const Geometry& geometry, ReconstructionConstants constants)
    : fitter_(geometry), recovery_(geometry), constants_(std::move(constants)) {
    constants_.check(geometry.size());
}

template <typename Real>
Observed Reconstruction::observe(const Real* npho, const Real* time, const bool* dead,
                                 const Vec3& start, Workspace& workspace) const noexcept {
    const bool given = std::isfinite(start[0]) && std::isfinite(start[1]);
    Observed observed;
    observed.fit = fitter_.fit(
        npho, dead, given ? start : fitter_.brightest(npho, dead, workspace.fit_), workspace.fit_);
    const Vec3 point = best_point(observed.fit);
    const bool seen = std::isfinite(point[0]);
    double* const fractions = workspace.fractions_.data();
    if (seen) {
        solid_angle(geometry(), point, fractions);
        observed.largest = *std::max_element(fractions, fractions + geometry().mppcs());
    }
    recovery_.predict(npho, dead, observed.fit, constants_.recovery, seen ? fractions : nullptr,
                      workspace.predicted_.data());
    observed.light =
        face_light(geometry(), npho, workspace.predicted_.data(), constants_.energy.sensor_weight);
    if (seen) {
        observed.emission_time = emission_time(geometry(), constants_.channels, npho, time, dead,
                                               point, workspace.timing_);
    }
    return observed;
}

template <typename Real>
void reconstruct(const Reconstruction& reconstruction, const Events<Real>& events, const Real* time,
                 const double* starts, Observed* observed, Reconstructed* reconstructed,
                 unsigned threads) {
    constexpr double kNone = PositionFit::kNone;
    for_each_with(events.count, threads, Reconstruction::Workspace(reconstruction),
                  [&](std::size_t event, Reconstruction::Workspace& workspace) {
                      const std::size_t first = event * reconstruction.geometry().size();
                      const Vec3 start = starts == nullptr
                                             ? Vec3{kNone, kNone, kNone}
                                             : Vec3{starts[3 * event], starts[3 * event + 1],
                                                    starts[3 * event + 2]};
                      observed[event] =
                          reconstruction.observe(events.npho + first, time + first,
                                                 events.dead_of(event), start, workspace);
                      reconstructed[event] = interpret(reconstruction.constants(), observed[event]);
                  });
}

template void reconstruct(const Reconstruction&, const Events<float>&, const float*, const double*,
                          Observed*, Reconstructed*, unsigned);
template void reconstruct(const Reconstruction&, const Events<double>&, const double*,
                          const double*, Observed*, Reconstructed*, unsigned);
template Observed Reconstruction::observe(const float*, const float*, const bool*, const Vec3&,
                                          Workspace&) const noexcept;
template Observed Reconstruction::observe(const double*, const double*, const bool*, const Vec3&,
                                          Workspace&) const noexcept;

} // namespace xec
