#include "xec/error.hpp"
#include "xec/golden.hpp"
#include "xec/manifest.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <cstddef>
#include <random>
#include <string>

#include "file.hpp"
#include "npz.hpp"
#include "sha256.hpp"

namespace {

constexpr const char* kManifest = XEC_TEST_BUNDLE "/manifest.json";
constexpr const char* kGolden = XEC_TEST_BUNDLE "/golden.npz";

TEST(Sha256, VectorsOfTheStandard) {
    EXPECT_EQ(xec::sha256(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    EXPECT_EQ(xec::sha256("abc"),
              "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    EXPECT_EQ(xec::sha256("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
              "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
    EXPECT_EQ(xec::sha256(std::string(1000000, 'a')),
              "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST(File, AMissingOneIsNamed) {
    try {
        static_cast<void>(xec::read_file("/absent/file"));
        FAIL();
    } catch (const xec::BundleError& error) {
        EXPECT_STREQ(error.what(), "/absent/file: cannot be read (No such file or directory)");
    }
}

TEST(Npz, ArraysOfTheShippedBundle) {
    const std::string bytes = xec::read_file(kGolden);
    const auto arrays = xec::parse_npz(bytes, "golden.npz");
    const xec::NpyArray& npho = arrays.at("npho");
    EXPECT_EQ(npho.type, "<f4");
    ASSERT_EQ(npho.shape.size(), 2U);
    EXPECT_EQ(npho.shape[1], 4760U);
    EXPECT_EQ(npho.data.size(), npho.shape[0] * npho.shape[1] * sizeof(float));
}

TEST(Npz, DamageIsAnErrorWhateverItHits) {
    const std::string bytes = xec::read_file(std::string(XEC_TEST_INPAINTER) + "/golden.npz");
    const std::size_t directory = bytes.size() - 600;
    // NOLINTNEXTLINE(*-random-generator-seed,cert-msc*): the same damage every time
    std::mt19937 random(1);
    std::size_t refused = 0;
    for (int i = 0; i < 3000; ++i) {
        std::string damaged = bytes;
        if (i % 3 == 0) {
            damaged.resize(random() % bytes.size());
        } else {
            const std::size_t from = i % 3 == 1 ? directory : 0;
            const std::size_t size = i % 3 == 1 ? bytes.size() - directory : 200;
            damaged[from + random() % size] = static_cast<char>(random());
        }
        try {
            static_cast<void>(xec::parse_npz(damaged, "golden.npz"));
        } catch (const xec::BundleError&) {
            ++refused;
        }
    }
    EXPECT_GT(refused, 1000U);
}

TEST(Golden, EventsAndFlags) {
    const xec::GoldenEvents golden = xec::load_golden(kGolden);
    ASSERT_GE(golden.count, 4U);
    EXPECT_EQ(golden.npho.size(), golden.count * 4760);
    std::size_t dead = 0;
    for (std::size_t i = 0; i < golden.npho.size(); ++i) {
        dead += golden.dead[i] ? 1 : 0;
    }
    EXPECT_GT(dead, 0U);
    EXPECT_LT(dead, golden.npho.size() / 4);
    for (const auto& [name, output] : golden.outputs) {
        EXPECT_EQ(output.values.size(), golden.count * output.width) << name;
    }
}

TEST(Golden, DifferencesAreInDetectorResolutions) {
    xec::Manifest manifest;
    manifest.tasks = {{"energy", {{"energy", "GeV", 0.001}}, false},
                      {"n_gamma", {{"n_gamma_0", "", {}}}, false}};
    const xec::GoldenOutput reference{1, {0.05, 0.04}};
    const std::vector<float> values{0.05F, 0.042F};
    EXPECT_NEAR(xec::worst_difference(manifest, "energy", reference, values.data(), 2), 2.0, 1e-4);
    // Without a resolution: 1e-5 of the magnitude is the fp32 gate.
    const std::vector<float> logits{0.05F, 0.04F * (1 + 1.25e-5F)};
    EXPECT_NEAR(xec::worst_difference(manifest, "n_gamma", reference, logits.data(), 2),
                xec::parity_gate("fp32"), 1e-4);
    const std::vector<float> broken{0.05F, std::nanf("")};
    EXPECT_TRUE(std::isinf(xec::worst_difference(manifest, "energy", reference, broken.data(), 2)));
}

TEST(Golden, GatesByPrecision) {
    EXPECT_LT(xec::parity_gate("fp32"), xec::parity_gate("fp16"));
    EXPECT_EQ(xec::parity_gate("fp16"), xec::parity_gate("bf16"));
    EXPECT_LT(xec::parity_gate("fp16"), xec::parity_gate("int8-cpu"));
    EXPECT_THROW(static_cast<void>(xec::parity_gate("fp61")), xec::BundleError);
    EXPECT_EQ(xec::single_event_gate("fp32"), xec::parity_gate("fp32"));
    EXPECT_EQ(xec::single_event_gate("int8-cpu"), 4 * xec::parity_gate("int8-cpu"));
}

TEST(Manifest, OfTheShippedBundle) {
    const std::string json = xec::read_file(kManifest);
    const xec::Manifest manifest = xec::parse_manifest(json, "manifest.json");
    EXPECT_GT(manifest.max_dead, 0U);
    const xec::Task& position = manifest.task("uvwFI");
    ASSERT_EQ(position.outputs.size(), 3U);
    EXPECT_EQ(position.outputs[2].name, "w");
    EXPECT_EQ(position.outputs[2].unit, "cm");
    EXPECT_EQ(position.outputs[2].detector_sigma.value_or(0), 0.5);
    EXPECT_THROW(static_cast<void>(manifest.task("energie")), xec::UsageError);
    EXPECT_TRUE(xec::same_model(json, json));
}

/// What the library says of the shipped manifest after an edit.
std::string complaint(const std::string& before, const std::string& after) {
    std::string json = xec::read_file(kManifest);
    const std::size_t at = json.find(before);
    EXPECT_NE(at, std::string::npos) << before;
    json.replace(at, before.size(), after);
    try {
        static_cast<void>(xec::parse_manifest(json, "manifest.json"));
    } catch (const xec::BundleError& error) {
        return error.what();
    }
    return "";
}

TEST(Manifest, MistakesAreNamed) {
    EXPECT_EQ(complaint("{", "["), "manifest.json: the manifest is not valid JSON");
    EXPECT_EQ(complaint("\"layout\"", "\"lay\""),
              "manifest.json: the manifest lacks the key 'layout'");
    EXPECT_NE(complaint("\"npho_scale\": ", "\"npho_scale\": -").find("it must be positive"),
              std::string::npos);
    EXPECT_EQ(complaint("\"max_dead\": ", "\"max_dead\": \"\", \"x\": "),
              "manifest.json: the manifest's key 'max_dead' has a wrong type");
    EXPECT_NE(complaint("\"format_version\": ", "\"format_version\": 9").find("bundle format 9"),
              std::string::npos);
    EXPECT_NE(complaint("\"io\": \"raw\"", "\"io\": \"legacy\"").find("not raw events"),
              std::string::npos);
}

} // namespace
