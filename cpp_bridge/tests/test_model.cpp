#include "xec/error.hpp"
#include "xec/model.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <limits>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "file.hpp"
#include "sha256.hpp"

namespace {

namespace fs = std::filesystem;
using xec::kSensors;

constexpr const char* kBundle = XEC_TEST_BUNDLE;
constexpr const char* kGraph = XEC_TEST_BUNDLE "/fp32.onnx";
constexpr const char* kInpainter = XEC_TEST_INPAINTER;

xec::ModelOptions options() {
    xec::ModelOptions with;
    with.runtime = XEC_TEST_RUNTIME;
    return with;
}

xec::RawEvents events_of(const xec::GoldenEvents& golden, std::size_t first, std::size_t count) {
    const std::size_t offset = first * kSensors;
    return {count, &golden.npho[offset], &golden.time[offset], &golden.dead[offset]};
}

using Outputs = std::map<std::string, std::vector<float>>;

Outputs run(const xec::Model& model, const xec::RawEvents& events) {
    Outputs outputs;
    std::vector<float*> out;
    for (const auto& [name, width] : model.tensors()) {
        out.push_back(outputs.try_emplace(name, events.count * width).first->second.data());
    }
    model.run(events, out);
    return outputs;
}

std::vector<float> evaluate(const xec::Model& model, const xec::RawEvents& events,
                            std::uint32_t* status = nullptr) {
    std::vector<float> values(events.count * model.quantities().size());
    model.evaluate(events, values.data(), status);
    return values;
}

class ShippedModel : public testing::Test {
  protected:
    static void SetUpTestSuite() { model_ = std::make_unique<xec::Model>(kBundle, options()); }
    static void TearDownTestSuite() { model_.reset(); }

    static const xec::Model& model() { return *model_; }
    static const xec::GoldenEvents& golden() { return *model_->golden(); }

  private:
    static std::unique_ptr<const xec::Model> model_;
};

std::unique_ptr<const xec::Model> ShippedModel::model_;

TEST_F(ShippedModel, ReproducesAllGoldenEvents) {
    const Outputs outputs = run(model(), events_of(golden(), 0, golden().count));
    ASSERT_FALSE(outputs.empty());
    for (const auto& [name, values] : outputs) {
        EXPECT_LE(xec::worst_difference(model().manifest(), name, golden().outputs.at(name),
                                        values.data(), golden().count),
                  xec::parity_gate("fp32"))
            << name;
    }
}

TEST_F(ShippedModel, QuantitiesHaveNamesUnitsAndOrder) {
    EXPECT_EQ(model().quantities().front().name, "energy");
    EXPECT_EQ(model().quantities().front().unit, "GeV");
    EXPECT_EQ(model().quantities()[model().column("x")].unit, "cm");
    EXPECT_THROW(static_cast<void>(model().column("energie")), xec::UsageError);
}

TEST_F(ShippedModel, NamedValuesAreThoseOfTheTensors) {
    constexpr std::size_t kEvents = 20;
    const xec::RawEvents events = events_of(golden(), 0, kEvents);
    const Outputs outputs = run(model(), events);
    std::vector<std::uint32_t> status(kEvents, 99);
    const std::vector<float> values = evaluate(model(), events, status.data());
    const std::size_t width = model().quantities().size();
    for (std::size_t i = 0; i < kEvents; ++i) {
        ASSERT_EQ(status[i], 0U);
        const float* row = &values[i * width];
        const float* uvw = &outputs.at("uvwFI")[3 * i];
        EXPECT_EQ(row[model().column("energy")], outputs.at("energy")[i]);
        EXPECT_EQ(row[model().column("v")], uvw[1]);
        const xec::Vec3 xyz = xec::uvw_to_xyz({uvw[0], uvw[1], uvw[2]});
        EXPECT_EQ(row[model().column("y")], static_cast<float>(xyz[1]));
    }
}

TEST_F(ShippedModel, OneEventAtATimeIsTheSameWithinTheGate) {
    const Outputs together = run(model(), events_of(golden(), 0, golden().count));
    for (std::size_t i = 0; i < golden().count; ++i) {
        for (const auto& [name, values] : run(model(), events_of(golden(), i, 1))) {
            const std::size_t width = values.size();
            xec::GoldenOutput expected{width, {}};
            const auto first = together.at(name).begin() + static_cast<std::ptrdiff_t>(i * width);
            expected.values.assign(first, first + static_cast<std::ptrdiff_t>(width));
            EXPECT_LE(xec::worst_difference(model().manifest(), name, expected, values.data(), 1),
                      xec::parity_gate("fp32"));
        }
    }
}

TEST_F(ShippedModel, ThreadsShareOneModelAndGetTheSameBits) {
    const std::size_t count = golden().count;
    const std::vector<float> alone = evaluate(model(), events_of(golden(), 0, count));
    std::vector<std::vector<float>> results(4);
    std::vector<std::thread> threads;
    threads.reserve(results.size());
    for (auto& result : results) {
        threads.emplace_back([&result, count] {
            for (int repeat = 0; repeat < 3; ++repeat) {
                result = evaluate(model(), events_of(golden(), 0, count));
            }
        });
    }
    for (auto& thread : threads) {
        thread.join();
    }
    for (const auto& result : results) {
        EXPECT_EQ(result, alone);
    }
}

TEST_F(ShippedModel, WhatCannotBeComputedIsNotANumberAndSaysWhy) {
    std::vector<float> npho(4 * kSensors, 200.0F);
    std::vector<float> time(npho.size(), 5e-8F);
    const std::size_t too_many = model().manifest().max_dead + 1;
    std::fill_n(npho.begin() + kSensors, too_many, 1e10F);
    std::fill_n(npho.begin() + 2 * kSensors, kSensors, std::nanf(""));
    std::fill_n(npho.begin() + 3 * kSensors, kSensors, 8.9e9F);
    std::vector<std::uint32_t> status(4, 99);
    const std::vector<float> values =
        evaluate(model(), {4, npho.data(), time.data(), nullptr}, status.data());
    EXPECT_EQ(status[0], 0U);
    EXPECT_EQ(status[1], xec::kStatusTooManyDead);
    EXPECT_EQ(status[2], xec::kStatusTooManyDead | xec::kStatusNoValidInput);
    const std::size_t width = model().quantities().size();
    for (std::size_t i = 0; i < values.size(); ++i) {
        EXPECT_EQ(std::isnan(values[i]), status[i / width] != 0) << i;
    }
}

TEST_F(ShippedModel, NoEvents) {
    evaluate(model(), {});
    EXPECT_THROW(model().run({}, {}), xec::UsageError) << "no room for the outputs";
}

TEST_F(ShippedModel, DoesNotFillChannels) {
    EXPECT_FALSE(model().inpaints());
    std::vector<float> out(kSensors);
    const xec::RawEvents event = events_of(golden(), 0, 1);
    EXPECT_THROW(model().inpaint(event.npho, event.time, event.dead, out.data()), xec::UsageError);
}

TEST_F(ShippedModel, LoneFileKnowsItsModel) {
    const xec::Model lone(kGraph, options());
    EXPECT_EQ(lone.golden(), nullptr);
    EXPECT_EQ(lone.manifest().name, model().manifest().name);
    const xec::RawEvents events = events_of(golden(), 0, 5);
    EXPECT_EQ(run(lone, events), run(model(), events));
}

#ifdef XEC_SANITIZED
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = false;
#endif

/// Resident memory of this process [bytes].
std::size_t resident() {
    std::ifstream stream("/proc/self/statm");
    std::size_t total = 0;
    std::size_t pages = 0;
    stream >> total >> pages;
    return pages * 4096;
}

TEST(Inpainter, FillsDeadChannelsAndLeavesTheOthers) {
    const xec::Model model(kInpainter, options());
    ASSERT_TRUE(model.inpaints());
    const xec::GoldenEvents& golden = *model.golden();
    std::vector<float> mask(kSensors);
    std::vector<float> filled(kSensors);
    std::vector<float> from_mask(kSensors);
    for (std::size_t event = 0; event < golden.count; ++event) {
        const std::size_t first = event * kSensors;
        const bool* dead = &golden.dead[first];
        std::transform(dead, dead + kSensors, mask.begin(), [](bool flag) { return flag ? 1 : 0; });
        model.inpaint(&golden.npho[first], &golden.time[first], dead, filled.data());
        model.inpaint(&golden.npho[first], &golden.time[first], mask.data(), from_mask.data());
        EXPECT_EQ(filled, from_mask);
        for (std::size_t sensor = 0; sensor < kSensors; ++sensor) {
            const double expected = golden.outputs.at("npho_filled").values[first + sensor];
            EXPECT_NEAR(filled[sensor], expected, dead[sensor] ? 1e-2 : 0.0) << sensor;
        }
    }
}

TEST(Inpainter, MemoryDoesNotGrow) {
    const xec::Model model(kInpainter, options());
    const xec::GoldenEvents& golden = *model.golden();
    std::vector<float> filled(kSensors);
    const auto soak = [&](std::size_t calls) {
        for (std::size_t i = 0; i < calls; ++i) {
            const std::size_t first = i % golden.count * kSensors;
            model.inpaint(&golden.npho[first], &golden.time[first], &golden.dead[first],
                          filled.data());
        }
    };
    soak(kSanitized ? 20 : 1000);
    const std::size_t before = resident();
    soak(kSanitized ? 200 : 20000);
    // Sanitizers keep freed memory for a while.
    EXPECT_LT(resident(), before + (kSanitized ? 1U << 29U : 1U << 21U));
}

/// A copy of the shipped bundle to spoil.
class Spoiled : public testing::Test {
  protected:
    void SetUp() override {
        const auto* test = testing::UnitTest::GetInstance()->current_test_info();
        copy_ = fs::path(testing::TempDir()) / (std::string(test->name()) + ".xec");
        fs::remove_all(copy_);
        fs::copy(kBundle, copy_);
    }
    void TearDown() override { fs::remove_all(copy_); }

    [[nodiscard]] fs::path file(const std::string& name) const { return copy_ / name; }

    void write(const std::string& name, const std::string& bytes) const {
        std::ofstream(file(name), std::ios::binary) << bytes;
    }

    void replace(const std::string& name, const std::string& before,
                 const std::string& after) const {
        std::string bytes = xec::read_file(file(name));
        const std::size_t at = bytes.find(before);
        ASSERT_NE(at, std::string::npos) << before;
        write(name, bytes.replace(at, before.size(), after));
    }

    /// Write the hash a file has now into the manifest.
    void correct_hash(const std::string& name, const std::string& before) const {
        replace("manifest.json", xec::sha256(before), xec::sha256(xec::read_file(file(name))));
    }

    /// What opening says.
    [[nodiscard]] std::string complaint() const {
        try {
            const xec::Model model(copy_, options());
        } catch (const xec::Error& error) {
            return error.what();
        }
        return "";
    }

    void expect_complaint(const std::string& part) const {
        EXPECT_NE(complaint().find(part), std::string::npos) << complaint();
    }

  private:
    fs::path copy_;
};

TEST_F(Spoiled, NotAtAll) {
    EXPECT_EQ(complaint(), "");
}

TEST_F(Spoiled, Graph) {
    std::string bytes = xec::read_file(file("fp32.onnx"));
    bytes[bytes.size() / 2] = static_cast<char>(bytes[bytes.size() / 2] + 1);
    write("fp32.onnx", bytes);
    expect_complaint("'fp32.onnx' is not the file the manifest describes");
}

TEST_F(Spoiled, GraphThatIsNone) {
    const std::string before = xec::read_file(file("fp32.onnx"));
    write("fp32.onnx", "no graph");
    correct_hash("fp32.onnx", before);
    expect_complaint("the graph cannot be loaded");
}

TEST_F(Spoiled, GoldenEvents) {
    const std::string before = xec::read_file(file("golden.npz"));
    std::string bytes = before;
    // The first photon counts, behind the headers.
    std::fill_n(bytes.begin() + 4000, 400, '\x44');
    write("golden.npz", bytes);
    expect_complaint("'golden.npz' is not the file the manifest describes");
    correct_hash("golden.npz", before);
    EXPECT_THROW(xec::Model(file(""), options()), xec::CheckFailed);
    expect_complaint("golden events are not reproduced");
}

TEST_F(Spoiled, Manifest) {
    replace("manifest.json", "\"npho_threshold\": ", "\"npho_threshold\": 1");
    expect_complaint("manifest.json disagrees with the metadata of 'fp32.onnx'");
}

TEST_F(Spoiled, ManifestThatPointsElsewhere) {
    replace("manifest.json", "\"fp32.onnx\"", "\"../fp32.onnx\"");
    expect_complaint("the bundle lacks '../fp32.onnx'");
}

TEST_F(Spoiled, MissingFiles) {
    for (const std::string name : {"golden.npz", "fp32.onnx", "manifest.json"}) {
        fs::rename(file(name), file("elsewhere"));
        expect_complaint(name);
        fs::rename(file("elsewhere"), file(name));
    }
}

TEST(Opening, MistakesAreNamed) {
    EXPECT_THROW(xec::Model("/absent.xec", options()), xec::BundleError);
    xec::ModelOptions other = options();
    other.precision = "fp61";
    EXPECT_THROW(xec::Model(kBundle, other), xec::UsageError);
    EXPECT_THROW(xec::Model(kGraph, other), xec::UsageError);
    other = options();
    other.threads = 0;
    EXPECT_THROW(xec::Model(kBundle, other), xec::UsageError);
    other = options();
    other.batch = 0;
    EXPECT_THROW(xec::Model(kBundle, other), xec::UsageError);
}

TEST(Opening, WithoutTheRuntimeLibrarySaysHowToGetIt) {
    xec::ModelOptions other;
    for (const fs::path& wrong : {fs::path(testing::TempDir()), fs::path("/absent/lib.so"),
                                  fs::path(kBundle) / "manifest.json", fs::path("libm.so.6")}) {
        other.runtime = wrong;
        EXPECT_THROW(xec::Model(kBundle, other), xec::EngineError) << wrong;
    }
}

} // namespace
