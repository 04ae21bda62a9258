/// The arctangent of two arguments without branches or calls, so that loops over it vectorise.
#pragma once

#include <cmath>

namespace xec {

/// atan2(y, x) to within 3 units in the last place; zero where both are.
///
/// One rational function on [0, 0.66] after S. Moshier's Cephes library, and two reductions:
/// of a ratio above 0.66 by pi/4, and of the eight octants by swapping and reflecting.
inline double arctangent(double y, double x) noexcept {
    constexpr double kPi = 3.14159265358979323846;
    const double ax = std::abs(x);
    const double ay = std::abs(y);
    const double low = ax < ay ? ax : ay;
    const double high = ax < ay ? ay : ax;
    const bool large = low > 0.66 * high;
    const double numerator = large ? low - high : low;
    const double sum = large ? low + high : high;
    const double t = numerator / (sum > 0 ? sum : 1.0);
    const double z = t * t;
    const double p = (((-8.750608600031904122785e-1 * z - 1.615753718733365076637e1) * z -
                       7.500855792314704667340e1) *
                          z -
                      1.228866684490136173410e2) *
                         z -
                     6.485021904942025371773e1;
    const double q = ((((z + 2.485846490142306297962e1) * z + 1.650270098316988542046e2) * z +
                       4.328810604912902668951e2) *
                          z +
                      4.853903996359136964868e2) *
                         z +
                     1.945506571482613964425e2;
    const double reduced = t * (z * (p / q)) + t;
    const double octant = large ? kPi / 4 + reduced : reduced;
    const double quadrant = ax < ay ? kPi / 2 - octant : octant;
    const double half = x < 0 ? kPi - quadrant : quadrant;
    return std::copysign(half, y);
}

} // namespace xec
