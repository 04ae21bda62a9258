#include "xec/dead_channels.hpp"

#include "xec/normalisation.hpp"
#include "xec/parallel.hpp"
#include "xec/solid_angle.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

namespace xec {

namespace {

constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

bool is_finite(const Vec3& v) noexcept {
    return std::isfinite(v[0]) && std::isfinite(v[1]) && std::isfinite(v[2]);
}

double mppc_seen(const Geometry& geometry, std::size_t sensor, const Vec3& point) noexcept {
    const Vec3 c = geometry.position()[sensor];
    const Vec3 d{point[0] - c[0], point[1] - c[1], point[2] - c[2]};
    const auto along = [&d](const Vec3& axis) {
        return d[0] * axis[0] + d[1] * axis[1] + d[2] * axis[2];
    };
    return mppc_solid_angle(along(geometry.axis_u()[sensor]), along(geometry.axis_v()[sensor]),
                            along(geometry.normal()[sensor]));
}

} // namespace

DeadMethod dead_method(std::string_view name) {
    if (name == "fit") {
        return DeadMethod::fit;
    }
    if (name == "solid_angle") {
        return DeadMethod::solid_angle;
    }
    if (name == "neighbours") {
        return DeadMethod::neighbours;
    }
    throw std::invalid_argument("unknown method '" + std::string(name) +
                                "'. Valid: fit, neighbours, solid_angle.");
}

template <typename Real>
bool is_missing(const Real* npho, const bool* dead, std::size_t sensor) noexcept {
    const auto n = static_cast<double>(npho[sensor]);
    const bool measured = n > -std::numeric_limits<double>::infinity() && n <= kInvalidAbove;
    return !measured || (dead != nullptr && dead[sensor]);
}

template bool is_missing(const float*, const bool*, std::size_t) noexcept;
template bool is_missing(const double*, const bool*, std::size_t) noexcept;

DeadRecovery::DeadRecovery(const Geometry& geometry, double distance)
    : geometry_(geometry), first_(geometry.size() + 1) {
    const Columns& c = geometry.position();
    for (std::size_t i = 0; i < geometry.size(); ++i) {
        for (std::size_t j = 0; j < geometry.size(); ++j) {
            const double dx = c.x[i] - c.x[j];
            const double dy = c.y[i] - c.y[j];
            const double dz = c.z[i] - c.z[j];
            const bool near = dx * dx + dy * dy + dz * dz <= distance * distance;
            if (near && i != j && geometry.face(i) == geometry.face(j)) {
                neighbour_.push_back(static_cast<std::uint32_t>(j));
            }
        }
        first_[i + 1] = neighbour_.size();
    }
}

template <typename Real>
double DeadRecovery::from_neighbours(const Real* npho, const bool* dead, const double* fractions,
                                     std::size_t sensor) const noexcept {
    double light = 0;
    double seen = 0;
    double count = 0;
    for (std::size_t k = first_[sensor]; k < first_[sensor + 1]; ++k) {
        const std::size_t j = neighbour_[k];
        const bool missing = is_missing(npho, dead, j);
        light += missing ? 0.0 : static_cast<double>(npho[j]);
        seen += missing || fractions == nullptr ? 0.0 : fractions[j];
        count += missing ? 0.0 : 1.0;
    }
    if (count == 0) {
        return kNone;
    }
    return seen > 0 && light > kLeastLight ? light * fractions[sensor] / seen : light / count;
}

Vec3 best_point(const PositionFit& fit) noexcept {
    return uvw_to_xyz(is_finite(fit.uvw) ? fit.uvw : fit.uvw_stage1);
}

template <typename Real>
void DeadRecovery::predict(const Real* npho, const bool* dead, const PositionFit& fit,
                           DeadMethod method, const double* fractions, double* out) const noexcept {
    const Vec3 point = uvw_to_xyz(fit.uvw);
    const double* const shares = method == DeadMethod::solid_angle ? fractions : nullptr;
    for (std::size_t i = 0; i < geometry_.size(); ++i) {
        if (!is_missing(npho, dead, i)) {
            out[i] = kNone;
        } else if (method != DeadMethod::fit) {
            out[i] = from_neighbours(npho, dead, shares, i);
        } else {
            out[i] = i < geometry_.mppcs() ? fit.scale * mppc_seen(geometry_, i, point) : kNone;
        }
    }
}

template <typename Real>
void predict_dead(const DeadRecovery& recovery, const Events<Real>& events, const PositionFit* fits,
                  DeadMethod method, double* out, unsigned threads) {
    const Geometry& geometry = recovery.geometry();
    for_each_with(events.count, threads, std::vector<double>(geometry.size()),
                  [&](std::size_t event, std::vector<double>& fractions) {
                      const std::size_t first = event * geometry.size();
                      const PositionFit fit = fits == nullptr ? PositionFit{} : fits[event];
                      const Vec3 point = best_point(fit);
                      const bool seen = method == DeadMethod::solid_angle && is_finite(point);
                      if (seen) {
                          solid_angle(geometry, point, fractions.data());
                      }
                      recovery.predict(events.npho + first, events.dead_of(event), fit, method,
                                       seen ? fractions.data() : nullptr, out + first);
                  });
}

template void predict_dead(const DeadRecovery&, const Events<float>&, const PositionFit*,
                           DeadMethod, double*, unsigned);
template void predict_dead(const DeadRecovery&, const Events<double>&, const PositionFit*,
                           DeadMethod, double*, unsigned);
template void DeadRecovery::predict(const float*, const bool*, const PositionFit&, DeadMethod,
                                    const double*, double*) const noexcept;
template void DeadRecovery::predict(const double*, const bool*, const PositionFit&, DeadMethod,
                                    const double*, double*) const noexcept;

} // namespace xec
