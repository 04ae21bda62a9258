/// The solid angle of an MPPC and its slope, inline for the loops over sensors.
#pragma once

#include "xec/geometry.hpp"

#include <algorithm>
#include <array>
#include <cmath>

#include "arctangent.hpp"

namespace xec {

inline constexpr double kPi = 3.14159265358979323846;
inline constexpr std::array<double, 4> kChipEdges{-kChipOuterEdge, -kChipInnerEdge, kChipInnerEdge,
                                                  kChipOuterEdge};

/// A complex number whose phase is the solid angle of an MPPC.
struct Phasor {
    double re;
    double im;
};

/// The corner terms of the rectangle formula, asin(s_a s_b), equal atan(a b / (h r)) with r the
/// distance to the corner: the phases of h r + i a b. The sixteen corners of the four chips add
/// with alternating signs, so their sum is the phase of one product and costs one arctangent.
inline Phasor mppc_phasor(double a, double b, double h) noexcept {
    Phasor product{1.0, 0.0};
    for (unsigned i = 0; i < 4; ++i) {
        const double ai = kChipEdges[i] - a;
        const double base = ai * ai + h * h;
        for (unsigned j = 0; j < 4; ++j) {
            const double bj = kChipEdges[j] - b;
            const double re = h * std::sqrt(base + bj * bj);
            const double im = (i + j) % 2 == 0 ? ai * bj : -ai * bj;
            product = {product.re * re - product.im * im, product.re * im + product.im * re};
        }
    }
    return product;
}

/// Opposite the sensor the angle reaches 2 pi, elsewhere it stays below pi: there a negative phase
/// is the rounding of zero.
inline double mppc_fraction(const Phasor& phasor, double a, double b) noexcept {
    const double phase = arctangent(phasor.im, phasor.re);
    const bool opposite = std::max(std::abs(a), std::abs(b)) < kChipOuterEdge;
    const double below_zero = opposite ? phase + 2 * kPi : 0.0;
    return (phase < 0 ? below_zero : phase) / (4 * kPi);
}

/// Phase and slope of the phase along the axes of the sensor.
struct PhasorSlope {
    Phasor phasor;
    double a;
    double b;
    double h;
};

/// With F = atan(a b / (h r)) of one corner at (a, b) from the point:
///   dF/da = b h / ((a^2 + h^2) r),  dF/db = a h / ((b^2 + h^2) r),
///   dF/dh = -a b / r (1 / (a^2 + h^2) + 1 / (b^2 + h^2)).
/// Rows and columns of corners share a, b and the first two denominators, so the sixteen terms are
/// summed along both before they are weighted.
inline PhasorSlope mppc_phasor_slope(double a, double b, double h) noexcept {
    std::array<double, 4> of_row{};
    std::array<double, 4> of_column{};
    Phasor product{1.0, 0.0};
    const double h2 = h * h;
    for (unsigned i = 0; i < 4; ++i) {
        const double ai = kChipEdges[i] - a;
        const double base = ai * ai + h2;
        for (unsigned j = 0; j < 4; ++j) {
            const double bj = kChipEdges[j] - b;
            const double square = base + bj * bj;
            const double inverse = 1.0 / std::sqrt(square);
            const double re = h * (square * inverse);
            const double signed_a = (i + j) % 2 == 0 ? ai : -ai;
            const double signed_b = (i + j) % 2 == 0 ? bj : -bj;
            const double im = signed_a * bj;
            product = {product.re * re - product.im * im, product.re * im + product.im * re};
            of_row[i] += signed_b * inverse;
            of_column[j] += signed_a * inverse;
        }
    }
    PhasorSlope slope{product, 0.0, 0.0, 0.0};
    for (unsigned i = 0; i < 4; ++i) {
        const double ai = kChipEdges[i] - a;
        const double bi = kChipEdges[i] - b;
        const double row = of_row[i] / (ai * ai + h2);
        const double column = of_column[i] / (bi * bi + h2);
        slope.a -= h * row;
        slope.b -= h * column;
        slope.h -= ai * row + bi * column;
    }
    return slope;
}

} // namespace xec
