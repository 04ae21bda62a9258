/// The conventional energy: a weighted sum of photons.
///
/// Every sensor counts with a weight of its own, that of its face, a correction of the face for
/// where the light comes from, and, on the inner face and near to it, one for how much of the
/// light the nearest sensor takes. Constants are run data; the library has none.
#pragma once

#include "xec/geometry.hpp"

#include <array>
#include <cstddef>
#include <vector>

namespace xec {

/// Ascending coefficients.
using Polynomial = std::vector<double>;

[[nodiscard]] double evaluate(const Polynomial& polynomial, double x) noexcept;

/// Product of polynomials in u, v and w [cm], at least zero.
struct FaceCorrection {
    Polynomial u;
    Polynomial v;
    Polynomial w;
};

struct EnergyConstants {
    /// Faces that are mirror images share a correction: inner, outer, the two ends, top and bottom.
    static constexpr std::size_t kGroups = 4;
    /// Corrections are evaluated within |u|, |v| and 0 to w of these [cm], no farther.
    static constexpr Vec3 kWithin{24.0, 68.0, 30.0};

    std::vector<double> sensor_weight;        ///< (sensors), e.g. the area a sensor stands for
    std::array<double, kFaces> face_weight{}; ///< [GeV] for a photon of weight one
    std::array<FaceCorrection, kGroups> face_correction;
    double shallow_below = 0.0; ///< w [cm] below which the next one applies
    Polynomial shallow{1.0};    ///< in the logarithm of the largest solid angle, inner face

    /// @throws std::invalid_argument if a number is missing or not finite
    void check(std::size_t sensors) const;
};

/// Weighted photons of each face.
using FaceLight = std::array<double, kFaces>;

/// @param predicted  what missing channels would have read, NaN for live ones and where it is not
///                   known, which counts as no light
template <typename Real>
[[nodiscard]] FaceLight face_light(const Geometry& geometry, const Real* npho,
                                   const double* predicted,
                                   const std::vector<double>& sensor_weight) noexcept;

/// Energy [GeV]; NaN where the position is.
///
/// @param uvw      where the light comes from [cm]
/// @param largest  solid angle of the MPPC that sees most of it
[[nodiscard]] double energy(const EnergyConstants& constants, const FaceLight& light,
                            const Vec3& uvw, double largest) noexcept;

} // namespace xec
