/// What a dead channel would have read, from the position fit or from its neighbours.
#pragma once

#include "xec/events.hpp"
#include "xec/geometry.hpp"
#include "xec/position_fit.hpp"

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace xec {

enum class DeadMethod : std::uint8_t {
    fit,         ///< scale x solid angle at the fitted point; MPPCs only
    solid_angle, ///< the neighbours' light, shared in proportion to solid angles
    neighbours,  ///< the plain mean of the neighbours
};

/// @throws std::invalid_argument listing the valid names
[[nodiscard]] DeadMethod dead_method(std::string_view name);

/// A channel without a measurement: flagged dead, not finite, or above `kInvalidAbove`.
template <typename Real>
[[nodiscard]] bool is_missing(const Real* npho, const bool* dead, std::size_t sensor) noexcept;

/// Predicts dead channels of one geometry. Immutable, so any number of threads may share it.
///
/// The neighbours of a sensor are the live ones of its face within a distance of it.
class DeadRecovery {
  public:
    static constexpr double kDistance = 20.0; // [cm]
    /// With less light than this [photons] around it a channel gets the plain mean.
    static constexpr double kLeastLight = 50.0;

    explicit DeadRecovery(const Geometry& geometry, double distance = kDistance);

    /// Predict the missing channels of an event into `out` (sensors); NaN for the others.
    ///
    /// Also NaN where the method says nothing: without a fitted point or for a PMT (`fit`),
    /// without a live neighbour (the other two).
    ///
    /// @param fractions  solid angles (sensors) seen from the point of the light, for the method
    ///                   `solid_angle`; null if it is not known, which leaves the plain mean
    template <typename Real>
    void predict(const Real* npho, const bool* dead, const PositionFit& fit, DeadMethod method,
                 const double* fractions, double* out) const noexcept;

    [[nodiscard]] const Geometry& geometry() const noexcept { return geometry_; }

  private:
    template <typename Real>
    [[nodiscard]] double from_neighbours(const Real* npho, const bool* dead,
                                         const double* fractions,
                                         std::size_t sensor) const noexcept;

    Geometry geometry_;
    std::vector<std::size_t> first_; // of sensor i: neighbour_[first_[i]] to [first_[i + 1]]
    std::vector<std::uint32_t> neighbour_;
};

/// The fitted point, that of the first stage where there is no other, or NaN; xyz [cm].
[[nodiscard]] Vec3 best_point(const PositionFit& fit) noexcept;

/// Predict many events into `out` (events.count, sensors), over `threads` threads.
///
/// The method `solid_angle` makes do with the first stage of a fit, and without even that with the
/// plain mean.
///
/// @param fits  (events.count), or null where the method needs none
/// @throws std::bad_alloc before the first event
template <typename Real>
void predict_dead(const DeadRecovery& recovery, const Events<Real>& events, const PositionFit* fits,
                  DeadMethod method, double* out, unsigned threads = 1);

} // namespace xec
