#include "xec/dead_channels.hpp"
#include "xec/position_fit.hpp"
#include "xec/reconstruction.hpp"
#include "xec/solid_angle.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <random>
#include <stdexcept>
#include <vector>

#include "detector.hpp"
#include "inner_light.hpp"
#include "local_fit.hpp"
#include "projection_fit.hpp"

namespace {

using xec::Events;
using xec::FitStatus;
using xec::PositionFit;
using xec::PositionFitter;
using xec::Vec3;

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

/// Light of a point without noise.
std::vector<double> light_of(const xec::Geometry& geometry, const Vec3& uvw, double scale = 1e6) {
    std::vector<double> npho(geometry.size());
    xec::solid_angle(geometry, xec::uvw_to_xyz(uvw), npho.data());
    for (double& n : npho) {
        n *= scale;
    }
    return npho;
}

Vec3 random_point(std::mt19937& random) {
    const auto within = [&random](double low, double high) {
        return std::uniform_real_distribution<double>(low, high)(random);
    };
    return {within(-18, 18), within(-55, 55), within(1.0, 25)};
}

bool same_bits(const PositionFit& a, const PositionFit& b) {
    const auto same = [](double x, double y) { return x == y || (std::isnan(x) && std::isnan(y)); };
    return std::equal(a.uvw.begin(), a.uvw.end(), b.uvw.begin(), same) &&
           std::equal(a.uvw_stage1.begin(), a.uvw_stage1.end(), b.uvw_stage1.begin(), same) &&
           std::equal(a.covariance.begin(), a.covariance.end(), b.covariance.begin(), same) &&
           same(a.scale, b.scale) && same(a.chi2_ndf, b.chi2_ndf) && a.status == b.status &&
           a.n_sensors == b.n_sensors;
}

TEST(MppcSlope, IsThatOfFiniteDifferences) {
    // The same events every time.
    // NOLINTNEXTLINE(bugprone-random-generator-seed,cert-msc32-c,cert-msc51-cpp)
    std::mt19937 random(1);
    std::uniform_real_distribution<double> sideways(-12, 12);
    std::uniform_real_distribution<double> above(0.2, 40);
    for (int trial = 0; trial < 2000; ++trial) {
        const double a = sideways(random);
        const double b = sideways(random);
        const double h = above(random);
        const xec::MppcSlope slope = xec::mppc_slope(a, b, h);
        const auto seen = xec::mppc_solid_angle;
        const double step = 1e-3 * h;
        // Five points: the error is of fourth order in the step.
        const auto difference = [step](double back2, double back, double on, double on2) {
            return (back2 - 8 * back + 8 * on - on2) / (12 * step);
        };
        const double tolerance = 1e-9 + 1e-6 * std::abs(slope.along_normal);
        EXPECT_NEAR(slope.fraction, seen(a, b, h), 1e-13);
        EXPECT_NEAR(slope.along_u,
                    difference(seen(a - 2 * step, b, h), seen(a - step, b, h), seen(a + step, b, h),
                               seen(a + 2 * step, b, h)),
                    tolerance);
        EXPECT_NEAR(slope.along_v,
                    difference(seen(a, b - 2 * step, h), seen(a, b - step, h), seen(a, b + step, h),
                               seen(a, b + 2 * step, h)),
                    tolerance);
        EXPECT_NEAR(slope.along_normal,
                    difference(seen(a, b, h - 2 * step), seen(a, b, h - step), seen(a, b, h + step),
                               seen(a, b, h + 2 * step)),
                    tolerance);
    }
    EXPECT_EQ(xec::mppc_slope(0.3, 0.1, -1.0).along_normal, 0.0);
}

TEST(LocalFit, GradientIsThatOfTheChiSquare) {
    const xec::Geometry geometry = xec::test::full_detector();
    const std::vector<double> npho = light_of(geometry, {3, -7, 6});
    std::vector<double> memory(xec::kSelectionColumns * xec::padded(geometry.mppcs()));
    xec::Selection selection(memory.data(), xec::padded(geometry.mppcs()));
    for (std::size_t i = 0; i < geometry.mppcs(); i += 3) {
        selection.add(geometry, i, npho[i]);
    }
    selection.pad();
    const Vec3 at{3.4, -7.3, 7.5};
    const xec::LocalModel model = xec::local_model(selection, at);
    for (std::size_t axis = 0; axis < 3; ++axis) {
        constexpr double kStep = 1e-4;
        Vec3 on = at;
        Vec3 back = at;
        on[axis] += kStep;
        back[axis] -= kStep;
        const double difference =
            (xec::local_model(selection, on).value - xec::local_model(selection, back).value) /
            (2 * kStep);
        EXPECT_NEAR(model.gradient[axis], difference, 1e-5 * std::abs(difference));
    }
}

TEST(PositionFit, FindsPointsOfLight) {
    const xec::Geometry geometry = xec::test::full_detector();
    const PositionFitter fitter(geometry);
    PositionFitter::Workspace workspace(fitter);
    // The same events every time.
    // NOLINTNEXTLINE(bugprone-random-generator-seed,cert-msc32-c,cert-msc51-cpp)
    std::mt19937 random(2);
    for (int trial = 0; trial < 20; ++trial) {
        const Vec3 point = random_point(random);
        const std::vector<double> npho = light_of(geometry, point);
        const Vec3 start = fitter.brightest(npho.data(), nullptr, workspace);
        const PositionFit fit = fitter.fit(npho.data(), nullptr, start, workspace);
        EXPECT_EQ(fit.status, FitStatus::good);
        EXPECT_NEAR(fit.scale, 1e6, 10);
        for (std::size_t axis = 0; axis < 3; ++axis) {
            EXPECT_NEAR(fit.uvw[axis], point[axis], 1e-4);
        }
        EXPECT_NEAR(start[0], point[0], 3.0);
        EXPECT_NEAR(start[1], point[1], 3.0);
    }
}

TEST(PositionFit, TellsWhyThereIsNone) {
    const xec::Geometry geometry = xec::test::full_detector();
    const PositionFitter fitter(geometry);
    PositionFitter::Workspace workspace(fitter);
    std::vector<double> npho(geometry.size(), 0.0);
    EXPECT_TRUE(std::isnan(fitter.brightest(npho.data(), nullptr, workspace)[0]));
    EXPECT_EQ(fitter.fit(npho.data(), nullptr, {0, 0, 0}, workspace).status, FitStatus::no_light);
    for (std::size_t step = 0; step < 5; ++step) {
        npho[(44 + step) * xec::kColumns + 20 + step] = 1000;
    }
    const PositionFit few = fitter.fit(npho.data(), nullptr, {0, 0, 0}, workspace);
    EXPECT_EQ(few.status, FitStatus::too_few_sensors);
    EXPECT_EQ(few.n_sensors, 5);
    EXPECT_TRUE(std::isnan(few.uvw[0]));
    EXPECT_EQ(fitter.fit(npho.data(), nullptr, {kNaN, 0, 0}, workspace).status,
              FitStatus::no_light);
    EXPECT_EQ(fitter.fit(npho.data(), nullptr, {1e300, -1e300, 0}, workspace).status,
              FitStatus::no_light);
}

TEST(PositionFit, NeedsTheInnerFace) {
    EXPECT_THROW(PositionFitter{xec::test::small_detector()}, std::invalid_argument);
}

/// Anything a file can hold: noise, hot channels, invalid values, whole events of nonsense.
std::vector<float> random_events(const xec::Geometry& geometry, std::size_t count,
                                 std::mt19937& random) {
    std::vector<float> npho(count * geometry.size());
    std::uniform_int_distribution<int> kind(0, 5);
    std::exponential_distribution<double> exponential(0.01);
    constexpr std::array<float, 6> kStrange{std::numeric_limits<float>::quiet_NaN(),
                                            std::numeric_limits<float>::infinity(),
                                            -std::numeric_limits<float>::infinity(),
                                            1e10F,
                                            -5.0F,
                                            9e8F};
    std::size_t next = 0;
    for (std::size_t event = 0; event < count; ++event) {
        const int how = kind(random);
        const std::vector<double> light =
            light_of(geometry, random_point(random), how == 0 ? 0.0 : std::pow(10.0, how + 1));
        for (const double n : light) {
            const bool strange = how > 2 && next % 97 == 0;
            npho[next] = strange ? kStrange.at(next / 97 % kStrange.size())
                                 : static_cast<float>(n + exponential(random) * 1e-2 * how);
            ++next;
        }
    }
    return npho;
}

TEST(PositionFit, ThreadsChangeNothing) {
    const xec::Geometry geometry = xec::test::full_detector();
    const PositionFitter fitter(geometry);
    // The same events every time.
    // NOLINTNEXTLINE(bugprone-random-generator-seed,cert-msc32-c,cert-msc51-cpp)
    std::mt19937 random(3);
    constexpr std::size_t kEvents = 12;
    const std::vector<float> npho = random_events(geometry, kEvents, random);
    Events<float> events;
    events.npho = npho.data();
    events.count = kEvents;
    std::vector<PositionFit> one(kEvents);
    xec::fit_positions(fitter, events, nullptr, one.data());
    for (const unsigned threads : {0U, 2U, 5U, 40U}) {
        std::vector<PositionFit> many(kEvents);
        xec::fit_positions(fitter, events, nullptr, many.data(), threads);
        EXPECT_TRUE(std::equal(one.begin(), one.end(), many.begin(), same_bits)) << threads;
    }
}

TEST(Reconstruction, SurvivesAnythingAndForgetsIt) {
    const xec::Geometry geometry = xec::test::full_detector();
    xec::ReconstructionConstants constants;
    constants.energy.sensor_weight.assign(geometry.size(), 1.0);
    constants.energy.face_weight.fill(2e-8);
    for (auto& correction : constants.energy.face_correction) {
        correction = {{1.0}, {1.0}, {1.0, 0.01}};
    }
    constants.w = {0.5, 0.8};
    const xec::Reconstruction reconstruction(geometry, constants);
    xec::Reconstruction::Workspace workspace(reconstruction);
    const std::vector<double> time(geometry.size(), 1e-8);
    const std::vector<double> npho = light_of(geometry, {2, 3, 4});
    const Vec3 nowhere{kNaN, kNaN, kNaN};
    const auto run = [&] {
        return reconstruction.observe(npho.data(), time.data(), nullptr, nowhere, workspace);
    };
    const xec::Observed before = run();
    const xec::Reconstructed result = xec::interpret(constants, before);
    EXPECT_NEAR(result.uvw[2], 0.5 + 0.8 * 4, 1e-3);
    EXPECT_GT(result.energy, 0);
    EXPECT_LT(result.time, 1e-8);
    // The same events every time.
    // NOLINTNEXTLINE(bugprone-random-generator-seed,cert-msc32-c,cert-msc51-cpp)
    std::mt19937 random(4);
    const std::vector<float> events = random_events(geometry, 30, random);
    const std::vector<float> times(geometry.size(), 1e-8F);
    for (std::size_t event = 0; event < 30; ++event) {
        const xec::Observed seen = reconstruction.observe(
            events.data() + event * geometry.size(), times.data(), nullptr, nowhere, workspace);
        const bool fitted = seen.fit.status <= FitStatus::not_converged;
        EXPECT_EQ(fitted, std::isfinite(xec::interpret(constants, seen).energy));
    }
    const xec::Observed after = run();
    EXPECT_TRUE(same_bits(before.fit, after.fit));
    EXPECT_EQ(before.emission_time, after.emission_time);
    EXPECT_EQ(before.light, after.light);
}

TEST(Reconstruction, RefusesConstantsWithoutNumbers) {
    const xec::Geometry geometry = xec::test::full_detector();
    xec::ReconstructionConstants constants;
    EXPECT_THROW((xec::Reconstruction{geometry, constants}), std::invalid_argument);
    constants.energy.sensor_weight.assign(geometry.size(), kNaN);
    EXPECT_THROW((xec::Reconstruction{geometry, constants}), std::invalid_argument);
}

TEST(DeadChannels, AreWhatTheFitSays) {
    const xec::Geometry geometry = xec::test::full_detector();
    const Vec3 point{-4, 20, 9};
    const std::vector<double> npho = light_of(geometry, point);
    std::vector<std::uint8_t> flags(geometry.size());
    for (std::size_t i = 0; i < flags.size(); i += 50) {
        flags[i] = 1;
    }
    // Bytes of zero and one are what an array of bool is made of.
    const auto* const dead = reinterpret_cast<const bool*>(flags.data()); // NOLINT
    const PositionFitter fitter(geometry);
    PositionFitter::Workspace workspace(fitter);
    const PositionFit fit = fitter.fit(npho.data(), dead, point, workspace);
    const xec::DeadRecovery recovery(geometry);
    std::vector<double> fractions(geometry.size());
    xec::solid_angle(geometry, xec::uvw_to_xyz(fit.uvw), fractions.data());
    std::vector<double> out(geometry.size());
    for (const auto method : {xec::DeadMethod::fit, xec::DeadMethod::solid_angle}) {
        recovery.predict(npho.data(), dead, fit, method, fractions.data(), out.data());
        for (std::size_t i = 0; i < geometry.mppcs(); ++i) {
            EXPECT_EQ(std::isnan(out[i]), flags[i] == 0);
            if (flags[i] != 0 && npho[i] > 10) { // too faint ones get the plain mean
                EXPECT_NEAR(out[i], npho[i], 1e-3 * npho[i]);
            }
        }
    }
    EXPECT_THROW((void)xec::dead_method("sum"), std::invalid_argument);
}

} // namespace
