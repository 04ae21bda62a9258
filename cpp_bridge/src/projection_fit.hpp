/// First stage of the position fit: the light projected on rows and columns of the inner face.
#pragma once

#include "xec/geometry.hpp"

#include "inner_light.hpp"

namespace xec {

/// Pitch of the columns in u [cm].
inline constexpr double kPitchU = 1.5097727;
/// Pitch of the rows in v [cm]: 125.52 degrees of the photoelectric surface in 93 rows.
inline constexpr double kPitchV =
    125.52 * (3.14159265358979323846 / 180) * kEffectiveRadius / static_cast<double>(kRows);
/// Photoelectrons per photon of an MPPC, which give a count its variance.
inline constexpr double kDetectionEfficiency = 0.12;
struct ProjectionFit {
    Vec3 uvw{};
    bool usable = false;
};

/// Fit both projections around a start; not usable where one has too little light.
ProjectionFit fit_projections(const Projections& projections, const Vec3& start) noexcept;

} // namespace xec
