#include "xec/position_fit.hpp"

#include "xec/parallel.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <stdexcept>

#include "inner_light.hpp"
#include "local_fit.hpp"
#include "minimise.hpp"
#include "projection_fit.hpp"

namespace xec {

namespace {

/// Sensors this far around the first point take part [cm].
constexpr double kReachU = 10.5 * kPitchU;
constexpr double kReachV = 10.5 * kPitchV;
constexpr std::int32_t kFewestSensors = 10;
constexpr double kFarthestMove = 5.0; // [cm] from the first point, in each coordinate
constexpr double kLeastDepth = 0.1;   // [cm]
constexpr double kPrecision = 1e-5;   // [cm] of the last step
constexpr unsigned kMostEvaluations = 60;

Box<3> limits(const Vec3& first) noexcept {
    const auto& [u, v, w] = first;
    return {{u - kFarthestMove, v - kFarthestMove, std::max(w - kFarthestMove, kLeastDepth)},
            {u + kFarthestMove, v + kFarthestMove, w + kFarthestMove}};
}

} // namespace

PositionFitter::Workspace::Workspace(const PositionFitter& fitter)
    : light_(fitter.u_.size()), columns_(kSelectionColumns * padded(fitter.u_.size())) {}

PositionFitter::PositionFitter(const Geometry& geometry)
    : geometry_(geometry), u_(geometry.mppcs()), v_(geometry.mppcs()), rows_(kRows) {
    if (geometry.mppcs() != kMppcs) {
        throw std::invalid_argument("the position fit needs the 4092 MPPCs of the inner face");
    }
    for (std::size_t i = 0; i < geometry.mppcs(); ++i) {
        const Vec3 uvw = xyz_to_uvw(geometry.position()[i]);
        u_[i] = uvw[0];
        v_[i] = uvw[1];
        Range& row = rows_[i / kColumns];
        row.low = std::min(row.low, v_[i]);
        row.high = std::max(row.high, v_[i]);
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
    double* const light = workspace.light_.data();
    live_light(npho, dead, light);
    const ProjectionFit first = fit_projections(project(light), start);
    if (!first.usable) {
        return fit;
    }
    fit.uvw_stage1 = first.uvw;

    Selection selection(workspace.columns_.data(), padded(u_.size()));
    for (std::size_t row = 0; row < kRows; ++row) {
        if (rows_[row].low > first.uvw[1] + kReachV || rows_[row].high < first.uvw[1] - kReachV) {
            continue;
        }
        for (std::size_t i = row * kColumns; i < (row + 1) * kColumns; ++i) {
            if (light[i] > 0 && std::abs(u_[i] - first.uvw[0]) <= kReachU &&
                std::abs(v_[i] - first.uvw[1]) <= kReachV) {
                selection.add(geometry_, i, light[i]);
            }
        }
    }
    fit.n_sensors = static_cast<std::int32_t>(selection.size());
    if (fit.n_sensors < kFewestSensors) {
        fit.status = FitStatus::too_few_sensors;
        return fit;
    }
    selection.pad();

    const Box<3> box = limits(first.uvw);
    const auto found =
        minimise<3>([&selection](const Vec3& uvw) { return local_model(selection, uvw); },
                    first.uvw, box, {kPrecision, kPrecision, kPrecision}, kMostEvaluations);
    fit.evaluations = found.evaluations;
    if (!std::isfinite(found.model.value)) {
        fit.status = FitStatus::not_converged;
        return fit;
    }
    fit.uvw = found.at;
    fit.scale = found.model.scale;
    fit.chi2_ndf = 2 * found.model.value / (fit.n_sensors - 4);
    fit.covariance = covariance(found.model);
    bool at_limit = false;
    for (std::size_t i = 0; i < 3; ++i) {
        at_limit = at_limit || fit.uvw[i] <= box.low[i] || fit.uvw[i] >= box.high[i];
    }
    const FitStatus where = at_limit ? FitStatus::at_limit : FitStatus::good;
    fit.status = found.converged ? where : FitStatus::not_converged;
    return fit;
}

template <typename Real>
Vec3 PositionFitter::brightest(const Real* npho, const bool* dead,
                               Workspace& workspace) const noexcept {
    double* const light = workspace.light_.data();
    live_light(npho, dead, light);
    const Window window = brightest_window(light);
    double sum = 0;
    Vec3 centre{};
    for (std::size_t row = window.first[0]; row <= window.last[0]; ++row) {
        for (std::size_t column = window.first[1]; column <= window.last[1]; ++column) {
            const std::size_t i = row * kColumns + column;
            sum += light[i];
            centre[0] += light[i] * u_[i];
            centre[1] += light[i] * v_[i];
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
                                             ? fitter.brightest(npho, dead, workspace)
                                             : Vec3{starts[3 * event], starts[3 * event + 1],
                                                    starts[3 * event + 2]};
                      out[event] = fitter.fit(npho, dead, start, workspace);
                  });
}

template void fit_positions(const PositionFitter&, const Events<float>&, const double*,
                            PositionFit*, unsigned);
template void fit_positions(const PositionFitter&, const Events<double>&, const double*,
                            PositionFit*, unsigned);

template Vec3 PositionFitter::brightest(const float*, const bool*, Workspace&) const noexcept;
template Vec3 PositionFitter::brightest(const double*, const bool*, Workspace&) const noexcept;
template PositionFit PositionFitter::fit(const float*, const bool*, const Vec3&,
                                         Workspace&) const noexcept;
template PositionFit PositionFitter::fit(const double*, const bool*, const Vec3&,
                                         Workspace&) const noexcept;

} // namespace xec
