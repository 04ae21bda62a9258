/// Solid angles of the sensors, as fractions of the full sphere.
#pragma once

#include "xec/geometry.hpp"

#include <cstddef>

namespace xec {

/// Nearer to a sensor's plane than this [cm] a point counts as lying in it.
///
/// There the solid angle jumps (half the sphere on a chip, zero beside it); it is taken as zero.
inline constexpr double kTouching = 1e-9;

/// A coordinate beyond this [cm] is an invalid value (files use 1e10), not a place.
inline constexpr double kFarthest = 1e6;

/// Fraction seen of one MPPC, the sum over its four chips; zero from behind.
///
/// @param a,b  coordinates of the point along e_u and e_v, relative to the sensor's centre [cm]
/// @param h    height of the point above the sensor's plane [cm]
[[nodiscard]] double mppc_solid_angle(double a, double b, double h) noexcept;

/// A solid angle and its derivatives along the axes of the sensor [1/cm].
struct MppcSlope {
    double fraction = 0.0;
    double along_u = 0.0;
    double along_v = 0.0;
    double along_normal = 0.0;
};

/// `mppc_solid_angle` with its analytic derivatives with respect to a, b and h; all zero from
/// behind.
[[nodiscard]] MppcSlope mppc_slope(double a, double b, double h) noexcept;

/// Fraction seen of a disc; zero from behind.
///
/// F. Paxton, Rev. Sci. Instrum. 30 (1959) 254, for all distances from the axis.
///
/// @param off_axis  distance of the point from the axis of the disc [cm]
/// @param h         height of the point above the plane of the disc [cm]
/// @param radius    of the disc [cm]
[[nodiscard]] double disc_solid_angle(double off_axis, double h,
                                      double radius = kPmtRadius) noexcept;

/// Fractions of all sensors seen from `point` (xyz) into `out[geometry.size()]`.
///
/// Allocates nothing and shares no state. NaN throughout if a coordinate is not finite or beyond
/// `kFarthest`. Shadows and the sensors' own thickness are not considered.
void solid_angle(const Geometry& geometry, const Vec3& point, double* out) noexcept;

/// The same for `points` (count, 3) into `out` (count, geometry.size()), over `threads` threads.
///
/// The result does not depend on the number of threads.
void solid_angle(const Geometry& geometry, const double* points, std::size_t count, double* out,
                 unsigned threads = 1);

} // namespace xec
