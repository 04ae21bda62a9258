/// The conventional position: two stages of least squares on the light of the inner face.
///
/// 1. Projections of the light on columns (u) and rows (v), each compared with the angle a sensor
///    subtends from a point at some depth: a first point, its depth the mean of the two.
/// 2. Every sensor near that point compared with scale x solid angle, the MPPC's four chips exact,
///    with the variance npho / 0.12 of photoelectron statistics.
/// Dead channels take part in neither.
#pragma once

#include "xec/events.hpp"
#include "xec/geometry.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

namespace xec {

/// How a fit ended. From `too_few_sensors` on there is no fitted point.
enum class FitStatus : std::int8_t {
    good,            ///< a minimum inside the limits
    at_limit,        ///< u or v 5 cm, or w 5 cm or its lower limit, from the first stage
    not_converged,   ///< the best point after the allowed steps
    too_few_sensors, ///< fewer than 10 sensors with light: the first stage only
    no_light,        ///< no place to start from, or too little light in a projection
};

/// A fitted point; NaN where the fit has not come.
struct PositionFit {
    static constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

    Vec3 uvw_stage1{kNone, kNone, kNone}; ///< [cm]
    Vec3 uvw{kNone, kNone, kNone};        ///< [cm]
    double scale = kNone;                 ///< photons emitted, were all light direct
    double chi2_ndf = kNone;
    /// Of (u, v, w, scale), row-major: the inverse of the Gauss-Newton matrix.
    std::array<double, 16> covariance{};
    std::int32_t n_sensors = 0;
    std::uint32_t evaluations = 0; ///< of the second stage's chi-square
    FitStatus status = FitStatus::no_light;
};

/// Fits events of one geometry. Immutable: threads share it, each with a workspace of its own.
class PositionFitter {
  public:
    /// Memory of one fit at a time, allocated once.
    class Workspace {
      public:
        explicit Workspace(const PositionFitter& fitter);

      private:
        friend class PositionFitter;
        std::vector<double> light_;
        std::vector<double> columns_;
    };

    /// @throws std::invalid_argument if the inner face has not 93 x 44 MPPCs
    explicit PositionFitter(const Geometry& geometry);

    /// The brightest region of an event, to start from: of all windows of 5 x 5 sensors the one
    /// with the most light per live sensor, and in it the light-weighted mean. w is 0; NaN without
    /// light.
    template <typename Real>
    [[nodiscard]] Vec3 brightest(const Real* npho, const bool* dead,
                                 Workspace& workspace) const noexcept;

    /// @param npho   raw photons of all sensors; those not finite, not positive or above 1e9 are
    ///               left out
    /// @param dead   flags of all sensors, or null
    /// @param start  uvw [cm]; w is not used
    template <typename Real>
    [[nodiscard]] PositionFit fit(const Real* npho, const bool* dead, const Vec3& start,
                                  Workspace& workspace) const noexcept;

    [[nodiscard]] const Geometry& geometry() const noexcept { return geometry_; }

  private:
    struct Range {
        double low = std::numeric_limits<double>::infinity();
        double high = -std::numeric_limits<double>::infinity();
    };

    Geometry geometry_;
    std::vector<double> u_; // of the MPPCs [cm]
    std::vector<double> v_;
    std::vector<Range> rows_; // in v
};

/// Fit many events into `out` (events.count), over `threads` threads.
///
/// The result does not depend on the number of threads. The event loop allocates nothing.
///
/// @param starts  (events.count, 3) uvw [cm], or null for the brightest region of each event
/// @throws std::bad_alloc before the first event
template <typename Real>
void fit_positions(const PositionFitter& fitter, const Events<Real>& events, const double* starts,
                   PositionFit* out, unsigned threads = 1);

} // namespace xec
