#include "xec/solid_angle.hpp"

#include "xec/parallel.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "clones.hpp"
#include "mppc.hpp"

namespace xec {

namespace {

/// Bulirsch's complete elliptic integral with parameters (k_c, p = d^2, -1, d):
///   integral over 0..pi/2 of (d sin^2 - cos^2) / ((cos^2 + d^2 sin^2) sqrt(cos^2 + k_c^2 sin^2)).
/// R. Bulirsch, Numer. Math. 13 (1969) 305. Eight steps converge to rounding for k_c > 1e-9, a
/// fixed number lets the loop over sensors vectorise.
inline double bulirsch(double kc, double d) noexcept {
    double a = -1.0;
    double b = d < 0 ? -1.0 : 1.0;
    double p = std::max(std::abs(d), 1e-150);
    double e = kc;
    double qc = kc;
    double em = 1.0;
    for (int step = 0; step < 8; ++step) {
        const double f = a;
        const double g = e / p;
        a += b / p;
        b = 2 * (b + f * g);
        p += g;
        em += qc;
        qc = 2 * std::sqrt(e);
        e = qc * em;
    }
    return kPi / 2 * (b + a * em) / (em * (em + p));
}

/// Paxton's K and Pi as one integral. With d = (off_axis - radius) / (off_axis + radius) his
/// characteristic is 1 - d^2; the divergence of Pi at d = 0 cancels inside, so that the result
/// runs smoothly from 2 pi minus something (over the disc) to zero plus something (beside it).
inline double disc_fraction(double off_axis, double h, double radius) noexcept {
    const double sum = off_axis + radius;
    const double difference = off_axis - radius;
    const double d = difference / sum;
    const double farthest = std::sqrt(h * h + sum * sum);
    const double nearest = std::sqrt(h * h + difference * difference);
    const double offset = d < 0 ? 2 * kPi : 0.0;
    const double angle = offset + 2 * h / farthest * (1 - d) * bulirsch(nearest / farthest, d);
    return std::max(angle, 0.0) / (4 * kPi);
}

bool is_place(const Vec3& point) noexcept {
    return std::all_of(point.begin(), point.end(),
                       [](double c) { return std::abs(c) <= kFarthest; });
}

constexpr std::size_t kBlock = 64;

/// Split into blocks so that the arithmetic of all but the arctangent vectorises.
XEC_CLONES void solid_angle_mppcs(const Geometry& geometry, const Vec3& point,
                                  double* out) noexcept {
    const Columns& c = geometry.position();
    const Columns& n = geometry.normal();
    const Columns& eu = geometry.axis_u();
    const Columns& ev = geometry.axis_v();
    const auto [px, py, pz] = point;
    std::array<double, kBlock> a{};
    std::array<double, kBlock> b{};
    std::array<double, kBlock> h{};
    std::array<double, kBlock> re{};
    std::array<double, kBlock> im{};
    for (std::size_t begin = 0; begin < geometry.mppcs(); begin += kBlock) {
        const std::size_t size = std::min(kBlock, geometry.mppcs() - begin);
        for (std::size_t k = 0; k < size; ++k) {
            const std::size_t i = begin + k;
            const double dx = px - c.x[i];
            const double dy = py - c.y[i];
            const double dz = pz - c.z[i];
            a[k] = dx * eu.x[i] + dy * eu.y[i] + dz * eu.z[i];
            b[k] = dx * ev.x[i] + dy * ev.y[i] + dz * ev.z[i];
            h[k] = dx * n.x[i] + dy * n.y[i] + dz * n.z[i];
            const Phasor phasor = mppc_phasor(a[k], b[k], h[k]);
            re[k] = phasor.re;
            im[k] = phasor.im;
        }
        for (std::size_t k = 0; k < size; ++k) {
            out[begin + k] = h[k] > kTouching ? mppc_fraction({re[k], im[k]}, a[k], b[k]) : 0.0;
        }
    }
}

XEC_CLONES void solid_angle_pmts(const Geometry& geometry, const Vec3& point,
                                 double* out) noexcept {
    const Columns& c = geometry.position();
    const Columns& n = geometry.normal();
    const auto [px, py, pz] = point;
    for (std::size_t i = geometry.mppcs(); i < geometry.size(); ++i) {
        const double dx = px - c.x[i];
        const double dy = py - c.y[i];
        const double dz = pz - c.z[i];
        const double h = dx * n.x[i] + dy * n.y[i] + dz * n.z[i];
        const double tx = dx - h * n.x[i];
        const double ty = dy - h * n.y[i];
        const double tz = dz - h * n.z[i];
        const double fraction =
            disc_fraction(std::sqrt(tx * tx + ty * ty + tz * tz), h, kPmtRadius);
        out[i] = h > kTouching ? fraction : 0.0;
    }
}

} // namespace

double mppc_solid_angle(double a, double b, double h) noexcept {
    return h > kTouching ? mppc_fraction(mppc_phasor(a, b, h), a, b) : 0.0;
}

MppcSlope mppc_slope(double a, double b, double h) noexcept {
    if (!(h > kTouching)) {
        return {};
    }
    const PhasorSlope slope = mppc_phasor_slope(a, b, h);
    constexpr double kSphere = 4 * kPi;
    return {mppc_fraction(slope.phasor, a, b), slope.a / kSphere, slope.b / kSphere,
            slope.h / kSphere};
}

double disc_solid_angle(double off_axis, double h, double radius) noexcept {
    return h > kTouching ? disc_fraction(off_axis, h, radius) : 0.0;
}

void solid_angle(const Geometry& geometry, const Vec3& point, double* out) noexcept {
    if (!is_place(point)) {
        std::fill_n(out, geometry.size(), std::numeric_limits<double>::quiet_NaN());
        return;
    }
    solid_angle_mppcs(geometry, point, out);
    solid_angle_pmts(geometry, point, out);
}

void solid_angle(const Geometry& geometry, const double* points, std::size_t count, double* out,
                 unsigned threads) {
    parallel_for(count, threads, [=, &geometry](std::size_t begin, std::size_t end) {
        for (std::size_t i = begin; i < end; ++i) {
            solid_angle(geometry, Vec3{points[3 * i], points[3 * i + 1], points[3 * i + 2]},
                        out + i * geometry.size());
        }
    });
}

} // namespace xec
