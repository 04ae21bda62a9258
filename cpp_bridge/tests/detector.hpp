/// Small closed detectors: MPPCs on the inner cylinder, discs on the outer.
#pragma once

#include "xec/geometry.hpp"

#include <cmath>
#include <cstdint>
#include <vector>

namespace xec::test {

/// @param rows,columns  of MPPCs; v falls with the row, z rises with the column
inline Geometry detector(int rows, int columns) {
    constexpr double kOuterRadius = 106.27;
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
    for (int row = 0; row < rows; ++row) {
        for (int column = 0; column < columns; ++column) {
            add(kEffectiveRadius, -1.53045 * (row - (rows - 1) / 2.0),
                1.50977 * (column - (columns - 1) / 2.0), 1.0, 0);
        }
    }
    for (int row = 0; row < kPmtRows; ++row) {
        for (int column = 0; column < kPmtRows; ++column) {
            add(kOuterRadius, 3.0 * (row - 10), 5.0 * (column - 10), -1.0, 1);
        }
    }
    return {positions.data(), normals.data(), faces.data(), faces.size()};
}

inline Geometry small_detector() {
    return detector(40, 40);
}

/// With all the MPPCs of the real one.
inline Geometry full_detector() {
    return detector(93, 44);
}

} // namespace xec::test
