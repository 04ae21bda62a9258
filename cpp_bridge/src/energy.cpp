#include "xec/energy.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <limits>
#include <stdexcept>
#include <string>

#include "checks.hpp"

namespace xec {

namespace {

/// Which correction a face takes, and the mirroring that maps the face to the first of its group:
/// downstream is upstream with -u, bottom is top with -v.
struct Mirror {
    std::size_t group;
    double u;
    double v;
};
constexpr std::array<Mirror, kFaces> kMirrors{
    {{0, 1, 1}, {1, 1, 1}, {2, 1, 1}, {2, -1, 1}, {3, 1, 1}, {3, 1, -1}}};

} // namespace

double evaluate(const Polynomial& polynomial, double x) noexcept {
    double value = 0;
    for (auto coefficient = polynomial.rbegin(); coefficient != polynomial.rend(); ++coefficient) {
        value = value * x + *coefficient;
    }
    return value;
}

void EnergyConstants::check(std::size_t sensors) const {
    if (sensor_weight.size() != sensors) {
        throw std::invalid_argument("sensor_weight has " + std::to_string(sensor_weight.size()) +
                                    " numbers, expected " + std::to_string(sensors));
    }
    expect_finite(sensor_weight, "sensor_weight");
    expect_finite(face_weight, "face_weight");
    for (const FaceCorrection& correction : face_correction) {
        expect_finite(correction.u, "face_correction");
        expect_finite(correction.v, "face_correction");
        expect_finite(correction.w, "face_correction");
    }
    expect_finite(shallow, "shallow");
    expect_finite(shallow_below, "shallow_below");
}

template <typename Real>
FaceLight face_light(const Geometry& geometry, const Real* npho, const double* predicted,
                     const std::vector<double>& sensor_weight) noexcept {
    FaceLight light{};
    for (std::size_t i = 0; i < geometry.size(); ++i) {
        const double n = std::isnan(predicted[i]) ? static_cast<double>(npho[i]) : predicted[i];
        // A missing channel without a prediction still has what the file says: 1e10, or NaN.
        const bool sensible = std::abs(n) < 1e9;
        light[static_cast<std::size_t>(geometry.face(i))] += sensible ? sensor_weight[i] * n : 0.0;
    }
    return light;
}

template FaceLight face_light(const Geometry&, const float*, const double*,
                              const std::vector<double>&) noexcept;
template FaceLight face_light(const Geometry&, const double*, const double*,
                              const std::vector<double>&) noexcept;

double energy(const EnergyConstants& constants, const FaceLight& light, const Vec3& uvw,
              double largest) noexcept {
    constexpr Vec3 within = EnergyConstants::kWithin;
    const double u = std::clamp(uvw[0], -within[0], within[0]);
    const double v = std::clamp(uvw[1], -within[1], within[1]);
    const double w = std::clamp(uvw[2], 0.0, within[2]);
    double sum = 0;
    for (std::size_t face = 0; face < light.size(); ++face) {
        const Mirror& mirror = kMirrors[face];
        const FaceCorrection& correction = constants.face_correction[mirror.group];
        const double factor = evaluate(correction.u, mirror.u * u) *
                              evaluate(correction.v, mirror.v * v) * evaluate(correction.w, w);
        const bool shallow = face == 0 && uvw[2] < constants.shallow_below;
        const double near = shallow ? evaluate(constants.shallow, std::log(largest)) : 1.0;
        sum +=
            constants.face_weight[face] * light[face] * std::max(factor, 0.0) * std::max(near, 0.0);
    }
    const bool known = std::isfinite(uvw[0]) && std::isfinite(uvw[1]) && std::isfinite(uvw[2]);
    return known ? sum : std::numeric_limits<double>::quiet_NaN();
}

} // namespace xec
