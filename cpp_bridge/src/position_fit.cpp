#include "xec/position_fit.hpp"

#include "xec/parallel.hpp"
#include "xec/solid_angle.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <vector>

#include "clones.hpp"
#include "minimise.hpp"
#include "mppc.hpp"
#include "projection_fit.hpp"

namespace xec {

namespace {

/// Sensors this many pitches around the first point take part.
constexpr double kReach = 10.5;
constexpr std::int32_t kFewestSensors = 10;
constexpr double kFarthestMove = 5.0; // [cm] from the first point, in each coordinate
constexpr double kLeastDepth = 0.1;   // [cm]
constexpr double kPrecision = 1e-5;   // [cm] of the last step
constexpr unsigned kMostEvaluations = 60;

/// Sensors are handled so many at a time; the last block is padded.
constexpr std::size_t kBlock = 32;
/// Sums are kept in so many parts, whatever the width of the vector unit: the same bits anywhere.
constexpr std::size_t kLanes = 8;

/// What the second stage needs of its sensors, one contiguous column each.
enum Column : std::uint8_t {
    position_x,
    position_y,
    position_z,
    normal_x,
    normal_y,
    normal_z,
    axis_u_x,
    axis_u_y,
    axis_u_z,
    axis_v_x,
    axis_v_y,
    photons,
    weight,
    columns
};

constexpr std::size_t padded(std::size_t size) {
    return (size + kBlock - 1) / kBlock * kBlock;
}

/// The selected sensors of an event; padding has no weight.
struct Selection {
    double* data;
    std::size_t stride;
    std::size_t size = 0;

    [[nodiscard]] double* column(Column c) const { return data + c * stride; }
};

/// Sums of products of photons n, solid angle f and its slopes g along x, y, z, over all sensors.
struct Sums {
    double nn = 0; // independent of the point
    double nf = 0;
    double ff = 0;
    std::array<double, 3> ng{};
    std::array<double, 3> fg{};
    std::array<double, 6> gg{}; // xx, xy, xz, yy, yz, zz
};

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

inline void look(const Selection& s, std::size_t begin, const Vec3& point, Seen& seen) noexcept {
    const double* const cx = s.column(position_x) + begin;
    const double* const cy = s.column(position_y) + begin;
    const double* const cz = s.column(position_z) + begin;
    const double* const nx = s.column(normal_x) + begin;
    const double* const ny = s.column(normal_y) + begin;
    const double* const nz = s.column(normal_z) + begin;
    const double* const ux = s.column(axis_u_x) + begin;
    const double* const uy = s.column(axis_u_y) + begin;
    const double* const uz = s.column(axis_u_z) + begin;
    const double* const vx = s.column(axis_v_x) + begin;
    const double* const vy = s.column(axis_v_y) + begin;
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

XEC_CLONES void accumulate(const Selection& s, const Vec3& point, Sums& sums) noexcept {
    Lanes nf{};
    Lanes ff{};
    std::array<Lanes, 3> ng{};
    std::array<Lanes, 3> fg{};
    std::array<Lanes, 6> gg{};
    for (std::size_t begin = 0; begin < s.size; begin += kBlock) {
        Seen seen;
        look(s, begin, point, seen);
        const double* const n = s.column(photons) + begin;
        const double* const w = s.column(weight) + begin;
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
    sums.nf = total(nf);
    sums.ff = total(ff);
    for (std::size_t i = 0; i < 3; ++i) {
        sums.ng[i] = total(ng[i]);
        sums.fg[i] = total(fg[i]);
    }
    for (std::size_t i = 0; i < 6; ++i) {
        sums.gg[i] = total(gg[i]);
    }
}

/// Columns are the directions in which xyz moves with u, v and w.
Matrix<3> directions(const Vec3& uvw) noexcept {
    const double phi = uvw[1] / kEffectiveRadius;
    const double stretch = (uvw[2] + kEffectiveRadius) / kEffectiveRadius;
    const double sine = std::sin(phi);
    const double cosine = std::cos(phi);
    return {{{0.0, stretch * sine, -cosine}, {0.0, stretch * cosine, sine}, {1.0, 0.0, 0.0}}};
}

/// The sums with slopes along u, v and w instead of x, y and z.
struct Slopes {
    Parameters<3> n{};
    Parameters<3> f{};
    Matrix<3> g{};
};

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

/// Half the chi-square at the best scale, as a function of u, v and w: variable projection, with
/// Kaufman's matrix (L. Kaufman, BIT 15 (1975) 49).
Quadratic<3> reduce(const Sums& sums, const Slopes& slopes) noexcept {
    const double scale = sums.nf / sums.ff;
    Quadratic<3> q;
    q.value = std::isfinite(scale) ? (sums.nn - scale * sums.nf) / 2 : q.value;
    for (std::size_t i = 0; i < 3; ++i) {
        q.gradient[i] = -scale * (slopes.n[i] - scale * slopes.f[i]);
        for (std::size_t j = 0; j < 3; ++j) {
            q.curvature[i][j] =
                scale * scale * (slopes.g[i][j] - slopes.f[i] * slopes.f[j] / sums.ff);
        }
    }
    return q;
}

/// The inverse of the matrix in all four parameters (u, v, w, scale).
void set_covariance(PositionFit& fit, const Sums& sums, const Slopes& slopes) noexcept {
    Matrix<4> full{};
    for (std::size_t i = 0; i < 3; ++i) {
        for (std::size_t j = 0; j < 3; ++j) {
            full[i][j] = fit.scale * fit.scale * slopes.g[i][j];
        }
        full[i][3] = full[3][i] = fit.scale * slopes.f[i];
    }
    full[3][3] = sums.ff;
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
    for (std::size_t i = 0; i < 4; ++i) {
        for (std::size_t j = 0; j < 4; ++j) {
            fit.covariance[4 * i + j] = inverse[i][j] * unit[i] * unit[j];
        }
    }
}

template <typename Real> bool has_light(Real npho) noexcept {
    return npho > 0 && static_cast<double>(npho) <= kFitBelow;
}

} // namespace

PositionFitter::Workspace::Workspace(const PositionFitter& fitter)
    : columns_(columns * padded(fitter.u_.size())) {}

PositionFitter::PositionFitter(const Geometry& geometry)
    : geometry_(geometry), u_(geometry.mppcs()), v_(geometry.mppcs()) {
    if (geometry.mppcs() != kMppcs) {
        throw std::invalid_argument("the position fit needs the 4092 MPPCs of the inner face");
    }
    for (std::size_t i = 0; i < geometry.mppcs(); ++i) {
        const Vec3 uvw = xyz_to_uvw(geometry.position()[i]);
        u_[i] = uvw[0];
        v_[i] = uvw[1];
    }
}

template <typename Real>
PositionFit PositionFitter::fit(const Real* npho, const bool* dead, const Vec3& start,
                                Workspace& workspace) const noexcept {
    PositionFit fit;
    fit.covariance.fill(PositionFit::kNone);
    if (!std::isfinite(start[0]) || !std::isfinite(start[1])) {
        return fit;
    }
    const ProjectionFit first = fit_projections(project(npho, dead), start);
    if (!first.usable) {
        return fit;
    }
    fit.uvw_stage1 = first.uvw;

    Selection selection{workspace.columns_.data(), padded(u_.size())};
    Sums sums;
    for (std::size_t i = 0; i < u_.size(); ++i) {
        const bool near = std::abs(u_[i] - first.uvw[0]) <= kReach * kPitchU &&
                          std::abs(v_[i] - first.uvw[1]) <= kReach * kPitchV;
        if (!near || !has_light(npho[i]) || (dead != nullptr && dead[i])) {
            continue;
        }
        const std::size_t k = selection.size++;
        const auto set = [&selection, k](Column c, double value) {
            selection.column(c)[k] = value;
        };
        set(position_x, geometry_.position().x[i]);
        set(position_y, geometry_.position().y[i]);
        set(position_z, geometry_.position().z[i]);
        set(normal_x, geometry_.normal().x[i]);
        set(normal_y, geometry_.normal().y[i]);
        set(normal_z, geometry_.normal().z[i]);
        set(axis_u_x, geometry_.axis_u().x[i]);
        set(axis_u_y, geometry_.axis_u().y[i]);
        set(axis_u_z, geometry_.axis_u().z[i]);
        set(axis_v_x, geometry_.axis_v().x[i]);
        set(axis_v_y, geometry_.axis_v().y[i]);
        const auto n = static_cast<double>(npho[i]);
        const double w = 1 / std::max(n / kDetectionEfficiency, 1.0);
        set(photons, n);
        set(weight, w);
        sums.nn += w * n * n;
    }
    fit.n_sensors = static_cast<std::int32_t>(selection.size);
    if (fit.n_sensors < kFewestSensors) {
        fit.status = FitStatus::too_few_sensors;
        return fit;
    }
    const std::size_t end = padded(selection.size);
    for (std::size_t c = 0; c < columns; ++c) {
        double* const column = selection.column(static_cast<Column>(c));
        const double filling = c == weight || c == photons ? 0.0 : column[selection.size - 1];
        std::fill(column + selection.size, column + end, filling);
    }
    selection.size = end;

    const auto& [u, v, w] = first.uvw;
    const Box<3> box{
        {u - kFarthestMove, v - kFarthestMove, std::max(w - kFarthestMove, kLeastDepth)},
        {u + kFarthestMove, v + kFarthestMove, w + kFarthestMove}};
    const auto evaluate = [&selection, &sums](const Parameters<3>& at) {
        accumulate(selection, uvw_to_xyz(at), sums);
        return reduce(sums, along_uvw(sums, at));
    };
    const Minimum<3> found = minimise<3>(evaluate, first.uvw, box,
                                         {kPrecision, kPrecision, kPrecision}, kMostEvaluations);
    if (!std::isfinite(found.model.value)) {
        fit.status = FitStatus::not_converged;
        return fit;
    }
    accumulate(selection, uvw_to_xyz(found.at), sums);
    fit.uvw = found.at;
    fit.scale = sums.nf / sums.ff;
    fit.chi2_ndf = 2 * found.model.value / (fit.n_sensors - 4);
    set_covariance(fit, sums, along_uvw(sums, found.at));
    bool at_limit = false;
    for (std::size_t i = 0; i < 3; ++i) {
        at_limit = at_limit || fit.uvw[i] <= box.low[i] || fit.uvw[i] >= box.high[i];
    }
    const FitStatus where = at_limit ? FitStatus::at_limit : FitStatus::good;
    fit.status = found.converged ? where : FitStatus::not_converged;
    return fit;
}

template <typename Real>
Vec3 PositionFitter::brightest(const Real* npho, const bool* dead) const noexcept {
    constexpr std::size_t kHalf = 2; // of a window of 5 x 5
    constexpr double kFewestLive = 9;
    const auto live = [npho, dead](std::size_t i) {
        return has_light(npho[i]) && (dead == nullptr || !dead[i]);
    };
    const auto first = [](std::size_t at) { return at < kHalf ? 0 : at - kHalf; };
    const auto last = [](std::size_t at, std::size_t size) {
        return std::min(at + kHalf, size - 1);
    };
    std::size_t best_row = 0;
    std::size_t best_column = 0;
    double best = 0;
    for (std::size_t row = 0; row < kRows; ++row) {
        std::array<double, kColumns> light{};
        std::array<double, kColumns> count{};
        for (std::size_t r = first(row); r <= last(row, kRows); ++r) {
            for (std::size_t column = 0; column < kColumns; ++column) {
                const std::size_t i = r * kColumns + column;
                light[column] += live(i) ? static_cast<double>(npho[i]) : 0.0;
                count[column] += live(i) ? 1.0 : 0.0;
            }
        }
        for (std::size_t column = 0; column < kColumns; ++column) {
            double sum = 0;
            double sensors = 0;
            for (std::size_t c = first(column); c <= last(column, kColumns); ++c) {
                sum += light[c];
                sensors += count[c];
            }
            const double mean = sum / std::max(sensors, kFewestLive);
            if (mean > best) {
                best = mean;
                best_row = row;
                best_column = column;
            }
        }
    }
    double sum = 0;
    Vec3 centre{};
    for (std::size_t r = first(best_row); r <= last(best_row, kRows); ++r) {
        for (std::size_t c = first(best_column); c <= last(best_column, kColumns); ++c) {
            const std::size_t i = r * kColumns + c;
            const double n = live(i) ? static_cast<double>(npho[i]) : 0.0;
            sum += n;
            centre[0] += n * u_[i];
            centre[1] += n * v_[i];
        }
    }
    return {centre[0] / sum, centre[1] / sum, 0.0}; // NaN without light
}

template <typename Real>
void fit_positions(const PositionFitter& fitter, const Events<Real>& events, const double* starts,
                   PositionFit* out, unsigned threads) {
    for_each_with(events.count, threads, PositionFitter::Workspace(fitter),
                  [&](std::size_t event, PositionFitter::Workspace& workspace) {
                      const Real* const npho = events.npho + event * fitter.geometry().size();
                      const bool* const dead = events.dead_of(event);
                      const Vec3 start = starts == nullptr
                                             ? fitter.brightest(npho, dead)
                                             : Vec3{starts[3 * event], starts[3 * event + 1],
                                                    starts[3 * event + 2]};
                      out[event] = fitter.fit(npho, dead, start, workspace);
                  });
}

template void fit_positions(const PositionFitter&, const Events<float>&, const double*,
                            PositionFit*, unsigned);
template void fit_positions(const PositionFitter&, const Events<double>&, const double*,
                            PositionFit*, unsigned);

template Vec3 PositionFitter::brightest(const float*, const bool*) const noexcept;
template Vec3 PositionFitter::brightest(const double*, const bool*) const noexcept;
template PositionFit PositionFitter::fit(const float*, const bool*, const Vec3&,
                                         Workspace&) const noexcept;
template PositionFit PositionFitter::fit(const double*, const bool*, const Vec3&,
                                         Workspace&) const noexcept;

} // namespace xec
