/// A small closed detector: MPPCs on the inner cylinder, discs on the outer.
#pragma once

#include "xec/geometry.hpp"

#include <cmath>
#include <cstdint>
#include <vector>

namespace xec::test {

inline Geometry small_detector() {
    constexpr double kOuterRadius = 106.27;
    constexpr int kMppcRows = 40;
    constexpr int kPmtRows = 20;
    std::vector<double> positions;
    std::vector<double> normals;
    std::vector<std::int8_t> faces;
    const auto add = [&](double radius, double v, double z, double inward, std::int8_t face) {
        const double phi = v / kEffectiveRadius;
        positions.insert(positions.end(), {-radius * std::cos(phi), radius * std::sin(phi), z});
        normals.insert(normals.end(), {-inward * std::cos(phi), inward * std::sin(phi), 0.0});
        faces.push_back(face);
    };
    for (int row = 0; row < kMppcRows; ++row) {
        for (int column = 0; column < kMppcRows; ++column) {
            add(kEffectiveRadius, 1.53 * (row - 20), 1.51 * (column - 20), 1.0, 0);
        }
    }
    for (int row = 0; row < kPmtRows; ++row) {
        for (int column = 0; column < kPmtRows; ++column) {
            add(kOuterRadius, 3.0 * (row - 10), 5.0 * (column - 10), -1.0, 1);
        }
    }
    return {positions.data(), normals.data(), faces.data(), faces.size()};
}

} // namespace xec::test
