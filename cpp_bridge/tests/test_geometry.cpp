#include "xec/geometry.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <stdexcept>

#include "detector.hpp"

namespace {

using xec::Face;
using xec::Geometry;
using xec::Vec3;

TEST(Coordinates, OriginOfUvwIsTheMiddleOfTheInnerFace) {
    const Vec3 xyz = xec::uvw_to_xyz({0.0, 0.0, 0.0});
    EXPECT_DOUBLE_EQ(xyz[0], -xec::kEffectiveRadius);
    EXPECT_EQ(xyz[1], 0.0);
    EXPECT_EQ(xyz[2], 0.0);
}

TEST(Coordinates, RoundTrip) {
    for (const Vec3& uvw : {Vec3{1.0, 2.0, 3.0}, Vec3{-23.9, 67.9, 0.0}, Vec3{20.0, -70.0, 41.0}}) {
        const Vec3 back = xec::xyz_to_uvw(xec::uvw_to_xyz(uvw));
        for (std::size_t i = 0; i < 3; ++i) {
            EXPECT_NEAR(back[i], uvw[i], 1e-12);
        }
    }
}

TEST(GeometryTest, AxesAreOrthonormalAndFollowTheNormal) {
    const Geometry geometry = xec::test::small_detector();
    ASSERT_EQ(geometry.size(), 2000U);
    ASSERT_EQ(geometry.mppcs(), 1600U);
    EXPECT_EQ(geometry.face(1600), Face::outer);
    const auto dot = [](const Vec3& a, const Vec3& b) {
        return a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
    };
    for (std::size_t i = 0; i < geometry.mppcs(); ++i) {
        const Vec3 n = geometry.normal()[i];
        const Vec3 eu = geometry.axis_u()[i];
        const Vec3 ev = geometry.axis_v()[i];
        EXPECT_NEAR(dot(eu, eu), 1.0, 1e-15);
        EXPECT_NEAR(dot(ev, ev), 1.0, 1e-15);
        EXPECT_NEAR(dot(eu, ev), 0.0, 1e-15);
        EXPECT_NEAR(dot(eu, n), 0.0, 1e-15);
        EXPECT_NEAR(dot(ev, n), 0.0, 1e-15);
        EXPECT_GT(eu[2], 0.99);
    }
}

class BadSensor : public testing::Test {
  protected:
    void expect_refused() const {
        EXPECT_THROW(Geometry(position.data(), normal.data(), face.data(), 2),
                     std::invalid_argument);
    }

    std::array<double, 6> position{-65, 0, 0, -65, 1, 0};
    std::array<double, 6> normal{-1, 0, 0, -1, 0, 0};
    std::array<std::int8_t, 2> face{0, 0};
};

TEST_F(BadSensor, NoneIsAccepted) {
    EXPECT_NO_THROW(Geometry(position.data(), normal.data(), face.data(), 2));
}

TEST_F(BadSensor, Position) {
    position[4] = std::numeric_limits<double>::quiet_NaN();
    expect_refused();
}

TEST_F(BadSensor, NormalLength) {
    normal[3] = -1.1;
    expect_refused();
}

TEST_F(BadSensor, Face) {
    face[1] = 6;
    expect_refused();
}

TEST_F(BadSensor, Order) {
    face[0] = 1;
    expect_refused();
}

TEST_F(BadSensor, MppcAlongZ) {
    normal = {-1, 0, 0, 0, 0, 1};
    expect_refused();
}

} // namespace
