#include "projection_fit.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <limits>

#include "arctangent.hpp"
#include "clones.hpp"
#include "minimise.hpp"

namespace xec {

namespace {

/// Half the range of a fit, in bins: +-10 around the start.
constexpr double kReach = 10.0;
/// As many bins as that range can hold, rounded up to whole vectors.
constexpr std::size_t kBins = 24;
constexpr double kActiveSide = 1.2;
constexpr unsigned kMostEvaluations = 100;
constexpr std::size_t kFewestBins = 4; // one more than parameters

/// The bins of one projection in the range of the fit; empty ones, and the padding, have no
/// weight. Lengths are in bins.
struct Bins {
    std::array<double, kBins> x{};
    std::array<double, kBins> content{};
    std::array<double, kBins> weight{};
    std::array<double, kBins> value{}; // the model's and its slopes, as the fit goes on
    std::array<double, kBins> of_centre{};
    std::array<double, kBins> of_depth{};
};

/// Angle that a flat sensor of half length s subtends from depth d at a distance x - u.
XEC_CLONES void flat_model(Bins& bins, double centre, double depth) noexcept {
    constexpr double s = kActiveSide / 2 / kPitchU;
    const double d2 = depth * depth;
    for (std::size_t k = 0; k < kBins; ++k) {
        const double q = bins.x[k] - centre;
        const double above = q + s;
        const double below = q - s;
        const double by_above = 1 / (d2 + above * above);
        const double by_below = 1 / (d2 + below * below);
        bins.value[k] = arctangent(2 * s * depth, d2 + above * below);
        bins.of_centre[k] = depth * (by_below - by_above);
        bins.of_depth[k] = below * by_below - above * by_above;
    }
}

/// Angle that a sensor on a cylinder of radius R subtends in the plane across its axis, from depth
/// d behind the surface: between the directions to its edges at +-p from the angle x / R.
XEC_CLONES void curved_model(Bins& bins, double centre, double depth) noexcept {
    constexpr double radius = kInnerRadius / kPitchV;
    const double half = std::asin(kActiveSide / kInnerRadius) / 2;
    const double cos_half = std::cos(half);
    const double sin_half = std::sin(half);
    const double from_axis = depth + radius;
    const double squares = radius * radius + from_axis * from_axis;
    std::array<double, kBins> cosine{};
    std::array<double, kBins> sine{};
    for (std::size_t k = 0; k < kBins; ++k) {
        const double angle = (bins.x[k] - centre) / radius;
        cosine[k] = std::cos(angle);
        sine[k] = std::sin(angle);
    }
    for (std::size_t k = 0; k < kBins; ++k) {
        const double cos_above = cosine[k] * cos_half - sine[k] * sin_half;
        const double cos_below = cosine[k] * cos_half + sine[k] * sin_half;
        const double along_above = radius * (sine[k] * cos_half + cosine[k] * sin_half);
        const double along_below = radius * (sine[k] * cos_half - cosine[k] * sin_half);
        const double height_above = from_axis - radius * cos_above;
        const double height_below = from_axis - radius * cos_below;
        const double by_above = 1 / (squares - 2 * radius * from_axis * cos_above);
        const double by_below = 1 / (squares - 2 * radius * from_axis * cos_below);
        bins.value[k] = arctangent(along_above * height_below - along_below * height_above,
                                   height_above * height_below + along_above * along_below);
        bins.of_centre[k] = (cos_below * from_axis - radius) * by_below -
                            (cos_above * from_axis - radius) * by_above;
        bins.of_depth[k] = along_below * by_below - along_above * by_above;
    }
}

/// Half the chi-square of scale x model at its best scale, as a function of the other two
/// parameters (variable projection, with Kaufman's matrix). The scale takes up any normalisation
/// of the model, so that none is needed.
Quadratic<2> reduce(const Bins& bins) noexcept {
    double yy = 0;
    double yf = 0;
    double ff = 0;
    Parameters<2> yg{};
    Parameters<2> fg{};
    Matrix<2> gg{};
    for (std::size_t k = 0; k < kBins; ++k) {
        const double w = bins.weight[k];
        const double y = bins.content[k];
        const double f = bins.value[k];
        const Parameters<2> g{bins.of_centre[k], bins.of_depth[k]};
        yy += w * y * y;
        yf += w * y * f;
        ff += w * f * f;
        for (std::size_t i = 0; i < 2; ++i) {
            yg[i] += w * y * g[i];
            fg[i] += w * f * g[i];
            gg[i][0] += w * g[i] * g[0];
            gg[i][1] += w * g[i] * g[1];
        }
    }
    const double scale = yf / ff;
    Quadratic<2> q;
    q.value = std::isfinite(scale) ? (yy - scale * yf) / 2 : q.value;
    for (std::size_t i = 0; i < 2; ++i) {
        q.gradient[i] = -scale * (yg[i] - scale * fg[i]);
        for (std::size_t j = 0; j < 2; ++j) {
            q.curvature[i][j] = scale * scale * (gg[i][j] - fg[i] * fg[j] / ff);
        }
    }
    return q;
}

struct Centre {
    double position = 0; // [bins]
    double depth = 0;    // [bins]
    bool usable = false;
};

/// @param first  the position of bin 0; bins follow one by one
/// @param room   how far from the start the centre may move
template <std::size_t size, typename Model>
Centre fit_projection(const std::array<double, size>& projection, double first, double start,
                      double room, const Model& model) noexcept {
    Bins bins;
    std::size_t used = 0;
    std::size_t filled = 0;
    double sum = 0;
    double sum_x = 0;
    double sum_xx = 0;
    for (std::size_t k = 0; k < size; ++k) {
        const double x = first + static_cast<double>(k);
        const double y = projection[k];
        sum += y;
        sum_x += y * x;
        sum_xx += y * x * x;
        if (std::abs(x - start) <= kReach) {
            bins.x[used] = x;
            bins.content[used] = y;
            bins.weight[used] = y > 0 ? kDetectionEfficiency / y : 0.0;
            filled += y > 0 ? 1U : 0U;
            ++used;
        }
    }
    if (filled < kFewestBins) {
        return {};
    }
    const double mean = sum_x / sum;
    const double spread = std::sqrt(std::max(sum_xx / sum - mean * mean, 0.0));
    const double rms = spread < 0.5 ? 1.0 : spread;
    const double half_axis = static_cast<double>(size) / 2;
    const Box<2> box{{std::max(start - room, -half_axis), 0.1},
                     {std::min(start + room, half_axis), 1.5 * rms}};
    if (!(box.low[0] < box.high[0])) {
        return {};
    }
    const auto evaluate = [&bins, &model](const Parameters<2>& p) {
        model(bins, p[0], p[1]);
        return reduce(bins);
    };
    const auto found = minimise<2>(evaluate, {start, rms}, box, {1e-6, 1e-6}, kMostEvaluations);
    return {found.at[0], found.at[1], std::isfinite(found.model.value)};
}

} // namespace

ProjectionFit fit_projections(const Projections& projections, const Vec3& start) noexcept {
    constexpr double kFirstColumn = -(static_cast<double>(kColumns) - 1) / 2;
    constexpr double kFirstRow = -(static_cast<double>(kRows) - 1) / 2;
    // The centre moves by half the reach in u, by all of it in v; v runs against the row number.
    const Centre u =
        fit_projection(projections.on_u, kFirstColumn, start[0] / kPitchU, kReach / 2, &flat_model);
    const Centre v =
        fit_projection(projections.on_v, kFirstRow, -start[1] / kPitchV, kReach, &curved_model);
    if (!u.usable || !v.usable) {
        return {};
    }
    const double depth = (u.depth * kPitchU + v.depth * kPitchV) / 2;
    return {{u.position * kPitchU, -v.position * kPitchV, std::max(depth, 0.5)}, true};
}

} // namespace xec
