#include "xec/solid_angle.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <vector>

#include "detector.hpp"

namespace {

using xec::disc_solid_angle;
using xec::mppc_solid_angle;

constexpr double kPi = 3.14159265358979323846;

/// The formula as published for the experiment, with sixteen arcsines; near an argument of one, as
/// at h = 1e-3, it is the less accurate of the two.
double arcsine_formula(double a, double b, double h) {
    constexpr double inner = xec::kChipInnerEdge;
    constexpr double outer = xec::kChipOuterEdge;
    const auto s = [h](double x) { return x / std::hypot(x, h); };
    double sum = 0;
    for (const double su : {-1.0, 1.0}) {
        for (const double sv : {-1.0, 1.0}) {
            const double a1 = s(su * inner - a);
            const double a2 = s(su * outer - a);
            const double b1 = s(sv * inner - b);
            const double b2 = s(sv * outer - b);
            sum += std::abs(std::asin(a1 * b1) + std::asin(a2 * b2) - std::asin(a1 * b2) -
                            std::asin(b1 * a2));
        }
    }
    return sum / (4 * kPi);
}

TEST(Mppc, AgreesWithTheArcsineFormula) {
    for (const double h : {1e-3, 0.1, 0.5, 3.0, 40.0, 120.0}) {
        for (const double a : {-30.0, -0.7, -0.3, 0.0, 0.02, 0.6, 5.0, 60.0}) {
            for (const double b : {-12.0, -0.6151, 0.0, 0.3, 0.614, 90.0}) {
                EXPECT_NEAR(mppc_solid_angle(a, b, h), arcsine_formula(a, b, h), 1e-13)
                    << a << ' ' << b << ' ' << h;
            }
        }
    }
}

TEST(Mppc, HalfTheSphereOnAChipNothingBehind) {
    EXPECT_NEAR(mppc_solid_angle(0.3, 0.3, 1e-8), 0.5, 1e-6);
    EXPECT_NEAR(mppc_solid_angle(0.0, 0.0, 1e-8), 0.0, 1e-6) << "in the gap between the chips";
    EXPECT_EQ(mppc_solid_angle(0.3, 0.3, -1.0), 0.0);
    EXPECT_EQ(mppc_solid_angle(0.3, 0.3, 0.0), 0.0);
}

TEST(Disc, KnownValues) {
    EXPECT_NEAR(disc_solid_angle(5.0, 4.0), 0.02015, 5e-6);
    EXPECT_NEAR(disc_solid_angle(1.0, 10.0), 0.01203, 5e-6);
    for (const double h : {1e-6, 0.1, 2.0, 50.0, 300.0}) {
        const double on_axis = (1 - h / std::hypot(h, xec::kPmtRadius)) / 2;
        EXPECT_NEAR(disc_solid_angle(0.0, h), on_axis, 1e-14);
    }
    EXPECT_EQ(disc_solid_angle(1.0, -10.0), 0.0);
}

TEST(Disc, SmoothAcrossTheRim) {
    for (const double h : {0.01, 1.0, 20.0}) {
        const double at = disc_solid_angle(xec::kPmtRadius, h);
        for (const double step : {1e-15, 1e-12, 1e-9, 1e-6}) {
            EXPECT_NEAR(disc_solid_angle(xec::kPmtRadius - step, h), at, 20 * step + 1e-14);
            EXPECT_NEAR(disc_solid_angle(xec::kPmtRadius + step, h), at, 20 * step + 1e-14);
        }
    }
}

TEST(AllSensors, MatchTheSingleFormulas) {
    const xec::Geometry geometry = xec::test::small_detector();
    std::vector<double> out(geometry.size());
    const xec::Vec3 point = xec::uvw_to_xyz({1.0, 2.0, 3.0});
    xec::solid_angle(geometry, point, out.data());
    double sum = 0;
    for (std::size_t i = 0; i < geometry.size(); ++i) {
        const xec::Vec3 c = geometry.position()[i];
        const xec::Vec3 d{point[0] - c[0], point[1] - c[1], point[2] - c[2]};
        const auto along = [&d](const xec::Vec3& axis) {
            return d[0] * axis[0] + d[1] * axis[1] + d[2] * axis[2];
        };
        const double h = along(geometry.normal()[i]);
        const double off_axis = std::sqrt(std::max(along(d) - h * h, 0.0));
        const double expected =
            i < geometry.mppcs()
                ? mppc_solid_angle(along(geometry.axis_u()[i]), along(geometry.axis_v()[i]), h)
                : disc_solid_angle(off_axis, h);
        EXPECT_NEAR(out[i], expected, 1e-13) << i;
        sum += out[i];
    }
    EXPECT_GT(sum, 0.1);
    EXPECT_LT(sum, 1.0);
}

TEST(AllSensors, ThreadsChangeNothing) {
    const xec::Geometry geometry = xec::test::small_detector();
    constexpr std::size_t kPoints = 7;
    std::vector<double> points;
    for (std::size_t i = 0; i < kPoints; ++i) {
        const auto step = static_cast<double>(i);
        const xec::Vec3 xyz = xec::uvw_to_xyz({step, -2 * step, 0.5 + step});
        points.insert(points.end(), xyz.begin(), xyz.end());
    }
    std::vector<double> one(kPoints * geometry.size());
    xec::solid_angle(geometry, points.data(), kPoints, one.data());
    for (const unsigned threads : {0U, 2U, 3U, 50U}) {
        std::vector<double> many(one.size());
        xec::solid_angle(geometry, points.data(), kPoints, many.data(), threads);
        EXPECT_EQ(one, many);
    }
    xec::solid_angle(geometry, points.data(), 0, nullptr, 4);
}

TEST(AllSensors, NoPlaceNoNumber) {
    const xec::Geometry geometry = xec::test::small_detector();
    std::vector<double> out(geometry.size());
    for (const double bad : {std::numeric_limits<double>::quiet_NaN(),
                             std::numeric_limits<double>::infinity(), 1e10}) {
        xec::solid_angle(geometry, {bad, 0.0, 0.0}, out.data());
        EXPECT_TRUE(std::all_of(out.begin(), out.end(), [](double x) { return std::isnan(x); }));
    }
    xec::solid_angle(geometry, {-9e5, 0.0, 1.0}, out.data());
    EXPECT_TRUE(std::all_of(out.begin(), out.end(), [](double x) { return x >= 0 && x < 1e-9; }));
}

} // namespace
