#include "xec/geometry.hpp"

#include <cmath>
#include <stdexcept>
#include <string>

namespace xec {

namespace {

/// Survey tables round normals to six digits.
constexpr double kUnitTolerance = 1e-3;

[[noreturn]] void refuse(std::size_t sensor, const std::string& what) {
    throw std::invalid_argument("sensor " + std::to_string(sensor) + " " + what);
}

bool is_finite(const Vec3& v) {
    return std::isfinite(v[0]) && std::isfinite(v[1]) && std::isfinite(v[2]);
}

} // namespace

Vec3 xyz_to_uvw(const Vec3& xyz) noexcept {
    const auto& [x, y, z] = xyz;
    return {z, kEffectiveRadius * std::atan2(y, -x), std::hypot(x, y) - kEffectiveRadius};
}

Vec3 uvw_to_xyz(const Vec3& uvw) noexcept {
    const auto& [u, v, w] = uvw;
    const double radius = w + kEffectiveRadius;
    const double phi = v / kEffectiveRadius;
    return {-radius * std::cos(phi), radius * std::sin(phi), u};
}

Geometry::Geometry(const double* positions, const double* normals, const std::int8_t* faces,
                   std::size_t size)
    : position_(size), normal_(size), axis_u_(size), axis_v_(size), faces_(size) {
    for (std::size_t i = 0; i < size; ++i) {
        const Vec3 position{positions[3 * i], positions[3 * i + 1], positions[3 * i + 2]};
        const Vec3 given{normals[3 * i], normals[3 * i + 1], normals[3 * i + 2]};
        if (!is_finite(position)) {
            refuse(i, "has a position that is not finite");
        }
        const double length = std::hypot(given[0], given[1], given[2]);
        if (!(std::abs(length - 1) <= kUnitTolerance)) {
            refuse(i, "has a normal of length " + std::to_string(length) + ", not 1");
        }
        if (faces[i] < 0 || faces[i] >= kFaces) {
            refuse(i, "is on face " + std::to_string(faces[i]) + ", faces are 0 to 5");
        }
        const Vec3 n{given[0] / length, given[1] / length, given[2] / length};
        position_.set(i, position);
        normal_.set(i, n);
        faces_[i] = static_cast<Face>(faces[i]);
        if (faces_[i] != Face::inner) {
            continue;
        }
        if (mppcs_++ != i) {
            refuse(i, "is on the inner face but follows a PMT; MPPCs come first");
        }
        const double across = std::hypot(n[0], n[1]);
        if (across <= kUnitTolerance) {
            refuse(i, "is an MPPC that looks along z, which leaves its axes undefined");
        }
        axis_v_.set(i, {-n[1] / across, n[0] / across, 0.0});
        axis_u_.set(i, {-n[2] * n[0] / across, -n[2] * n[1] / across, across});
    }
}

} // namespace xec
