#include "local_fit.hpp"

#include "xec/solid_angle.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>

#include "clones.hpp"
#include "mppc.hpp"
#include "projection_fit.hpp"

namespace xec {

namespace {

/// Sums are kept in so many parts, whatever the width of the vector unit: the same bits anywhere.
constexpr std::size_t kLanes = 8;

using Lanes = std::array<double, kLanes>;
using Block = std::array<double, kBlock>;

double total(const Lanes& lanes) noexcept {
    double sum = 0;
    for (const double lane : lanes) {
        sum += lane;
    }
    return sum;
}

/// Solid angles of a block of sensors and their slopes along x, y and z.
struct Seen {
    Block fraction;
    Block x;
    Block y;
    Block z;
};

XEC_INLINE void look(const Selection& s, std::size_t begin, const Vec3& point,
                     Seen& seen) noexcept {
    const double* const cx = s.column(Column::position_x) + begin;
    const double* const cy = s.column(Column::position_y) + begin;
    const double* const cz = s.column(Column::position_z) + begin;
    const double* const nx = s.column(Column::normal_x) + begin;
    const double* const ny = s.column(Column::normal_y) + begin;
    const double* const nz = s.column(Column::normal_z) + begin;
    const double* const ux = s.column(Column::axis_u_x) + begin;
    const double* const uy = s.column(Column::axis_u_y) + begin;
    const double* const uz = s.column(Column::axis_u_z) + begin;
    const double* const vx = s.column(Column::axis_v_x) + begin;
    const double* const vy = s.column(Column::axis_v_y) + begin;
    const auto [px, py, pz] = point;
    Block a;
    Block b;
    Block h;
    Block re;
    Block im;
    for (std::size_t k = 0; k < kBlock; ++k) {
        const double dx = px - cx[k];
        const double dy = py - cy[k];
        const double dz = pz - cz[k];
        a[k] = dx * ux[k] + dy * uy[k] + dz * uz[k];
        b[k] = dx * vx[k] + dy * vy[k];
        h[k] = dx * nx[k] + dy * ny[k] + dz * nz[k];
        const PhasorSlope slope = mppc_phasor_slope(a[k], b[k], h[k]);
        re[k] = slope.phasor.re;
        im[k] = slope.phasor.im;
        seen.x[k] = slope.a * ux[k] + slope.b * vx[k] + slope.h * nx[k];
        seen.y[k] = slope.a * uy[k] + slope.b * vy[k] + slope.h * ny[k];
        seen.z[k] = slope.a * uz[k] + slope.h * nz[k];
    }
    for (std::size_t k = 0; k < kBlock; ++k) {
        const double fraction = mppc_fraction({re[k], im[k]}, a[k], b[k]);
        const bool front = h[k] > kTouching;
        seen.fraction[k] = front ? fraction : 0.0;
        seen.x[k] = front ? seen.x[k] / (4 * kPi) : 0.0;
        seen.y[k] = front ? seen.y[k] / (4 * kPi) : 0.0;
        seen.z[k] = front ? seen.z[k] / (4 * kPi) : 0.0;
    }
}

XEC_CLONES Sums accumulate(const Selection& s, const Vec3& point) noexcept {
    Lanes nf{};
    Lanes ff{};
    std::array<Lanes, 3> ng{};
    std::array<Lanes, 3> fg{};
    std::array<Lanes, 6> gg{};
    for (std::size_t begin = 0; begin < s.size(); begin += kBlock) {
        Seen seen{};
        look(s, begin, point, seen);
        const double* const n = s.column(Column::photons) + begin;
        const double* const w = s.column(Column::weight) + begin;
        for (std::size_t first = 0; first < kBlock; first += kLanes) {
            for (std::size_t lane = 0; lane < kLanes; ++lane) {
                const std::size_t k = first + lane;
                const double f = seen.fraction[k];
                const double x = seen.x[k];
                const double y = seen.y[k];
                const double z = seen.z[k];
                const double wn = w[k] * n[k];
                const double wf = w[k] * f;
                const double wx = w[k] * x;
                const double wy = w[k] * y;
                const double wz = w[k] * z;
                nf[lane] += wn * f;
                ff[lane] += wf * f;
                ng[0][lane] += wn * x;
                ng[1][lane] += wn * y;
                ng[2][lane] += wn * z;
                fg[0][lane] += wf * x;
                fg[1][lane] += wf * y;
                fg[2][lane] += wf * z;
                gg[0][lane] += wx * x;
                gg[1][lane] += wx * y;
                gg[2][lane] += wx * z;
                gg[3][lane] += wy * y;
                gg[4][lane] += wy * z;
                gg[5][lane] += wz * z;
            }
        }
    }
    Sums sums;
    sums.nf = total(nf);
    sums.ff = total(ff);
    for (std::size_t i = 0; i < 3; ++i) {
        sums.ng[i] = total(ng[i]);
        sums.fg[i] = total(fg[i]);
    }
    for (std::size_t i = 0; i < 6; ++i) {
        sums.gg[i] = total(gg[i]);
    }
    return sums;
}

/// Columns are the directions in which xyz moves with u, v and w.
Matrix<3> directions(const Vec3& uvw) noexcept {
    const double phi = uvw[1] / kEffectiveRadius;
    const double stretch = (uvw[2] + kEffectiveRadius) / kEffectiveRadius;
    const double sine = std::sin(phi);
    const double cosine = std::cos(phi);
    return {{{0.0, stretch * sine, -cosine}, {0.0, stretch * cosine, sine}, {1.0, 0.0, 0.0}}};
}

Slopes along_uvw(const Sums& sums, const Vec3& uvw) noexcept {
    const Matrix<3> d = directions(uvw);
    const auto& [xx, xy, xz, yy, yz, zz] = sums.gg;
    const Matrix<3> g{{{xx, xy, xz}, {xy, yy, yz}, {xz, yz, zz}}};
    Slopes slopes;
    for (std::size_t i = 0; i < 3; ++i) {
        for (std::size_t k = 0; k < 3; ++k) {
            slopes.n[i] += d[k][i] * sums.ng[k];
            slopes.f[i] += d[k][i] * sums.fg[k];
            for (std::size_t j = 0; j < 3; ++j) {
                for (std::size_t l = 0; l < 3; ++l) {
                    slopes.g[i][j] += d[k][i] * g[k][l] * d[l][j];
                }
            }
        }
    }
    return slopes;
}

} // namespace

void Selection::add(const Geometry& geometry, std::size_t sensor, double light) noexcept {
    const std::size_t k = size_++;
    const auto set = [this, k](Column c, double value) { column(c)[k] = value; };
    set(Column::position_x, geometry.position().x[sensor]);
    set(Column::position_y, geometry.position().y[sensor]);
    set(Column::position_z, geometry.position().z[sensor]);
    set(Column::normal_x, geometry.normal().x[sensor]);
    set(Column::normal_y, geometry.normal().y[sensor]);
    set(Column::normal_z, geometry.normal().z[sensor]);
    set(Column::axis_u_x, geometry.axis_u().x[sensor]);
    set(Column::axis_u_y, geometry.axis_u().y[sensor]);
    set(Column::axis_u_z, geometry.axis_u().z[sensor]);
    set(Column::axis_v_x, geometry.axis_v().x[sensor]);
    set(Column::axis_v_y, geometry.axis_v().y[sensor]);
    const double w = 1 / std::max(light / kDetectionEfficiency, 1.0);
    set(Column::photons, light);
    set(Column::weight, w);
    squares_ += w * light * light;
}

void Selection::pad() const noexcept {
    for (std::size_t c = 0; c < kSelectionColumns; ++c) {
        const auto which = static_cast<Column>(c);
        const bool counts = which == Column::weight || which == Column::photons;
        double* const values = column(which);
        const double filling = counts ? 0.0 : values[size_ - 1];
        std::fill(values + size_, values + padded(size_), filling);
    }
}

LocalModel local_model(const Selection& selection, const Vec3& uvw) noexcept {
    const Sums sums = accumulate(selection, uvw_to_xyz(uvw));
    LocalModel model;
    model.slopes = along_uvw(sums, uvw);
    model.ff = sums.ff;
    model.scale = sums.nf / sums.ff;
    const double scale = model.scale;
    if (std::isfinite(scale)) {
        model.value = (selection.squares() - scale * sums.nf) / 2;
    }
    const auto& [n, f, g] = model.slopes;
    for (std::size_t i = 0; i < 3; ++i) {
        model.gradient[i] = -scale * (n[i] - scale * f[i]);
        for (std::size_t j = 0; j < 3; ++j) {
            model.curvature[i][j] = scale * scale * (g[i][j] - f[i] * f[j] / sums.ff);
        }
    }
    return model;
}

std::array<double, 16> covariance(const LocalModel& model) noexcept {
    Matrix<4> full{};
    for (std::size_t i = 0; i < 3; ++i) {
        for (std::size_t j = 0; j < 3; ++j) {
            full[i][j] = model.scale * model.scale * model.slopes.g[i][j];
        }
        full[i][3] = full[3][i] = model.scale * model.slopes.f[i];
    }
    full[3][3] = model.ff;
    // The scale is a million times the other parameters: bring all to a unit diagonal.
    Parameters<4> unit{};
    for (std::size_t i = 0; i < 4; ++i) {
        unit[i] = 1 / std::sqrt(full[i][i]);
    }
    for (std::size_t i = 0; i < 4; ++i) {
        for (std::size_t j = 0; j < 4; ++j) {
            full[i][j] *= unit[i] * unit[j];
        }
    }
    Matrix<4> inverse{};
    invert(full, inverse);
    std::array<double, 16> result{};
    for (std::size_t i = 0; i < 4; ++i) {
        for (std::size_t j = 0; j < 4; ++j) {
            result[4 * i + j] = inverse[i][j] * unit[i] * unit[j];
        }
    }
    return result;
}

} // namespace xec
