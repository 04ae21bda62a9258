#include "xec/normalisation.hpp"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <cstddef>
#include <limits>
#include <memory>
#include <stdexcept>
#include <vector>

namespace {

using xec::Normalisation;
using xec::NphoScheme;

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInf = std::numeric_limits<float>::infinity();

struct Channel {
    float npho;
    float time;
    bool dead;
};

std::array<float, 2> normalised(const Normalisation& parameters, Channel c) {
    std::array<float, 2> out{};
    xec::normalise(parameters, &c.npho, &c.time, &c.dead, 1, out.data());
    return out;
}

TEST(NormalisationTest, FormulasOfTheSchemes) {
    Normalisation p;
    p.npho_scale = 1000.0;
    const auto npho = [&](NphoScheme scheme) {
        p.npho_scheme = scheme;
        return normalised(p, {1000.0F, 0.0F, false})[0];
    };
    EXPECT_EQ(npho(NphoScheme::log1p), static_cast<float>(std::log(2.0) / 4.08));
    EXPECT_EQ(npho(NphoScheme::sqrt), 1.0F);
    EXPECT_EQ(npho(NphoScheme::anscombe), 1.0F);
    EXPECT_EQ(npho(NphoScheme::linear), 1.0F);
}

TEST(NormalisationTest, InvalidChannels) {
    Normalisation p;
    p.sentinel_npho = -2.0;
    p.sentinel_time = -5.0;
    using Pair = std::array<float, 2>;
    const Pair invalid{-2.0F, -5.0F};
    EXPECT_EQ(normalised(p, {200.0F, 0.0F, true}), invalid);
    for (const float npho : {kNan, kInf, -kInf, 1e10F}) {
        EXPECT_EQ(normalised(p, {npho, 0.0F, false}), invalid);
    }
    for (const float time : {kNan, kInf, -kInf, 1e10F, -1e10F}) {
        const Pair out = normalised(p, {200.0F, time, false});
        EXPECT_GT(out[0], 0.0F);
        EXPECT_EQ(out[1], -5.0F);
    }
    EXPECT_EQ(normalised(p, {-1000.0F, 0.0F, false}), (Pair{0.0F, -5.0F})) << "domain break";
    EXPECT_EQ(normalised(p, {99.0F, 0.0F, false})[1], -5.0F) << "below the threshold";
    EXPECT_EQ(normalised(p, {100.0F, 0.0F, false})[1], 0.46F);
}

TEST(NormalisationTest, EveryLengthAndNoDeadFlags) {
    constexpr std::size_t kLongest = 600;
    const std::vector<float> npho(kLongest, 250.0F);
    const std::vector<float> time(kLongest, 1e-8F);
    const std::unique_ptr<bool[]> live(new bool[kLongest]()); // NOLINT(*-avoid-c-arrays)
    const Normalisation p;
    for (std::size_t length = 0; length < kLongest; length += 37) {
        std::vector<float> out(2 * length + 1, 7.0F);
        std::vector<float> flagged = out;
        xec::normalise<float>(p, npho.data(), time.data(), nullptr, length, out.data());
        xec::normalise(p, npho.data(), time.data(), live.get(), length, flagged.data());
        EXPECT_EQ(out, flagged);
        EXPECT_EQ(out.back(), 7.0F) << "written past the end";
    }
}

TEST(NormalisationTest, Parameters) {
    EXPECT_EQ(xec::npho_scheme("anscombe"), NphoScheme::anscombe);
    EXPECT_THROW(static_cast<void>(xec::npho_scheme("log")), std::invalid_argument);
    Normalisation p;
    EXPECT_NO_THROW(p.check());
    p.npho_scale = 0.0;
    EXPECT_THROW(p.check(), std::invalid_argument);
    p = {};
    p.time_shift = std::numeric_limits<double>::infinity();
    EXPECT_THROW(p.check(), std::invalid_argument);
}

} // namespace
