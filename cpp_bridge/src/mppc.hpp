/// The solid angle of an MPPC and its slope, inline for the loops over sensors.
#pragma once

#include "xec/geometry.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <utility>

#include "arctangent.hpp"
#include "clones.hpp"

namespace xec {

inline constexpr double kPi = 3.14159265358979323846;
inline constexpr std::array<double, 4> kChipEdges{-kChipOuterEdge, -kChipInnerEdge, kChipInnerEdge,
                                                  kChipOuterEdge};

/// A complex number whose phase is a solid angle.
struct Phasor {
    double re;
    double im;
};

XEC_INLINE Phasor operator*(const Phasor& p, const Phasor& q) noexcept {
    return {p.re * q.re - p.im * q.im, p.re * q.im + p.im * q.re};
}

/// The phasor of one corner at (a, b) from the point, a distance r away.
///
/// The corner terms of the rectangle formula, asin(s_a s_b), equal atan(a b / (h r)): the phases
/// of h r + i a b. The sixteen corners of the four chips add with alternating signs, so their sum
/// is the phase of one product and costs one arctangent.
template <std::size_t i, std::size_t j>
XEC_INLINE Phasor corner_phasor(double a, double b, double h_r) noexcept {
    return {h_r, (i + j) % 2 == 0 ? a * b : -(a * b)};
}

/// A product as a tree: four chains run side by side where one would wait for itself.
XEC_INLINE Phasor product_of(const std::array<Phasor, 16>& p) noexcept {
    const Phasor first = (p[0] * p[1]) * (p[2] * p[3]);
    const Phasor second = (p[4] * p[5]) * (p[6] * p[7]);
    const Phasor third = (p[8] * p[9]) * (p[10] * p[11]);
    const Phasor fourth = (p[12] * p[13]) * (p[14] * p[15]);
    return (first * second) * (third * fourth);
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

/// What the sixteen corners of an MPPC have in common, and their sums.
struct Corners {
    double h;
    double h2;
    std::array<double, 4> a; // of the edges, from the point
    std::array<double, 4> b;
    std::array<Phasor, 16> phasor{};
    std::array<double, 4> of_row{};
    std::array<double, 4> of_column{};

    XEC_INLINE Corners(double at_a, double at_b, double at_h) noexcept
        : h(at_h), h2(at_h * at_h),
          a{kChipEdges[0] - at_a, kChipEdges[1] - at_a, kChipEdges[2] - at_a, kChipEdges[3] - at_a},
          b{kChipEdges[0] - at_b, kChipEdges[1] - at_b, kChipEdges[2] - at_b,
            kChipEdges[3] - at_b} {}

    /// The corner between edge i along e_u and edge j along e_v.
    template <std::size_t corner> XEC_INLINE void add_phasor() noexcept {
        constexpr std::size_t i = corner / 4;
        constexpr std::size_t j = corner % 4;
        phasor[corner] = corner_phasor<i, j>(a[i], b[j], h * distance<corner>());
    }

    template <std::size_t corner> [[nodiscard]] XEC_INLINE double distance() const noexcept {
        constexpr std::size_t i = corner / 4;
        constexpr std::size_t j = corner % 4;
        return std::sqrt(a[i] * a[i] + h2 + b[j] * b[j]);
    }

    template <std::size_t corner> XEC_INLINE void add_slope(double r, double by_r) noexcept {
        constexpr std::size_t i = corner / 4;
        constexpr std::size_t j = corner % 4;
        constexpr double sign = (i + j) % 2 == 0 ? 1.0 : -1.0;
        phasor[corner] = corner_phasor<i, j>(a[i], b[j], h * r);
        of_row[i] += sign * b[j] * by_r;
        of_column[j] += sign * a[i] * by_r;
    }

    /// One division for two corners: divisions and roots take most of the time.
    template <std::size_t pair> XEC_INLINE void add_slopes_of_pair() noexcept {
        const double r = distance<2 * pair>();
        const double s = distance<2 * pair + 1>();
        const double by_both = 1.0 / (r * s);
        add_slope<2 * pair>(r, s * by_both);
        add_slope<2 * pair + 1>(s, r * by_both);
    }

    template <std::size_t... corner>
    XEC_INLINE void add_phasors(std::index_sequence<corner...> /*all*/) noexcept {
        (add_phasor<corner>(), ...);
    }

    template <std::size_t... pair>
    XEC_INLINE void add_slopes(std::index_sequence<pair...> /*all*/) noexcept {
        (add_slopes_of_pair<pair>(), ...);
    }
};

/// @param a,b,h  coordinates of the point in the axes of the sensor [cm]
XEC_INLINE Phasor mppc_phasor(double a, double b, double h) noexcept {
    Corners corners(a, b, h);
    corners.add_phasors(std::make_index_sequence<16>{});
    return product_of(corners.phasor);
}

/// With F = atan(a b / (h r)) of one corner:
///   dF/da = b h / ((a^2 + h^2) r),  dF/db = a h / ((b^2 + h^2) r),
///   dF/dh = -a b / r (1 / (a^2 + h^2) + 1 / (b^2 + h^2)).
/// Rows and columns of corners share a, b and the first two denominators, so the sixteen terms are
/// summed along both before they are weighted.
XEC_INLINE PhasorSlope mppc_phasor_slope(double a, double b, double h) noexcept {
    Corners corners(a, b, h);
    corners.add_slopes(std::make_index_sequence<8>{});
    PhasorSlope slope{product_of(corners.phasor), 0.0, 0.0, 0.0};
    const auto weigh = [&corners, &slope](std::size_t i) {
        // One division for two: they and the roots take most of the time.
        const double of_a = corners.a[i] * corners.a[i] + corners.h2;
        const double of_b = corners.b[i] * corners.b[i] + corners.h2;
        const double by_both = 1 / (of_a * of_b);
        const double row = corners.of_row[i] * (of_b * by_both);
        const double column = corners.of_column[i] * (of_a * by_both);
        slope.a -= corners.h * row;
        slope.b -= corners.h * column;
        slope.h -= corners.a[i] * row + corners.b[i] * column;
    };
    weigh(0);
    weigh(1);
    weigh(2);
    weigh(3);
    return slope;
}

} // namespace xec
