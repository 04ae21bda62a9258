/// Time by part, and a soak, of the conventional reconstruction; prints JSON.
///
///   xec_reconstruction_benchmark parts [EVENTS]    CPU time of each part, and what bounds the fit
///   xec_reconstruction_benchmark soak [EVENTS]     random events, and the memory before and after
#include "xec/reconstruction.hpp"

#include "xec/position_fit.hpp"
#include "xec/solid_angle.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <ctime>
#include <fstream>
#include <iostream>
#include <limits>
#include <random>
#include <string>
#include <unistd.h>
#include <vector>

#include "clones.hpp"
#include "detector.hpp"
#include "inner_light.hpp"
#include "projection_fit.hpp"

namespace {

using xec::Vec3;

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr double kEfficiency = 0.12;

/// Seconds of CPU of this process, so that a busy machine does not count.
double cpu() {
    return static_cast<double>(std::clock()) / CLOCKS_PER_SEC;
}

double resident_mb() {
    std::ifstream file("/proc/self/statm");
    double total = 0;
    double resident = 0;
    file >> total >> resident;
    return resident * static_cast<double>(sysconf(_SC_PAGESIZE)) / 1e6;
}

struct Sample {
    std::vector<float> npho;
    std::vector<Vec3> starts;
};

/// Points of light all over the detector, with the fluctuations of photoelectrons and dead
/// channels that hold NaN.
Sample make_events(const xec::Geometry& geometry, std::size_t count, std::mt19937& random) {
    Sample sample;
    std::uniform_real_distribution<double> unit(0, 1);
    std::normal_distribution<double> normal(0, 1);
    std::vector<double> seen(geometry.size());
    for (std::size_t event = 0; event < count; ++event) {
        const Vec3 point{48 * unit(random) - 24, 136 * unit(random) - 68, 1 + 20 * unit(random)};
        const double light = std::pow(10.0, 5 + 1.5 * unit(random));
        xec::solid_angle(geometry, xec::uvw_to_xyz(point), seen.data());
        for (const double fraction : seen) {
            const double mean = light * fraction * kEfficiency;
            const double noise = std::sqrt(mean + 1) * normal(random);
            const bool dead = unit(random) < 0.02;
            sample.npho.push_back(dead ? std::numeric_limits<float>::quiet_NaN()
                                       : static_cast<float>((mean + noise) / kEfficiency));
        }
        sample.starts.push_back({point[0] + normal(random), point[1] + normal(random), 0});
    }
    return sample;
}

xec::ReconstructionConstants make_constants(const xec::Geometry& geometry) {
    xec::ReconstructionConstants constants;
    constants.energy.sensor_weight.assign(geometry.size(), 1.0);
    constants.energy.face_weight.fill(2e-8);
    constants.energy.face_correction.fill({{1.0}, {1.0}, {1.0}});
    return constants;
}

/// Least microseconds an event of several rounds over all events.
template <typename Work> double microseconds(std::size_t events, const Work& work) {
    double best = std::numeric_limits<double>::infinity();
    for (int round = 0; round < 7; ++round) {
        const double start = cpu();
        for (std::size_t event = 0; event < events; ++event) {
            work(event);
        }
        best = std::min(best, (cpu() - start) / static_cast<double>(events) * 1e6);
    }
    return best;
}

using Numbers = std::array<double, 1024>;

XEC_CLONES void roots(const Numbers& from, Numbers& to) {
    for (std::size_t i = 0; i < from.size(); ++i) {
        to[i] = std::sqrt(from[i]);
    }
}

XEC_CLONES void quotients(const Numbers& from, Numbers& to) {
    for (std::size_t i = 0; i < from.size(); ++i) {
        to[i] = 1 / from[i];
    }
}

/// Nanoseconds this core takes for one root and one quotient, in vectors.
std::array<double, 2> arithmetic() {
    Numbers from{};
    Numbers to{};
    from.fill(1.7);
    constexpr std::size_t kRepeat = 2000;
    const double scale = 1e3 / static_cast<double>(from.size());
    const auto timed = [&](void (*loop)(const Numbers&, Numbers&)) {
        return scale * microseconds(kRepeat, [&](std::size_t i) {
                   from[i % from.size()] += 1e-9;
                   loop(from, to);
               });
    };
    return {timed(&roots), timed(&quotients)};
}

void parts(std::size_t events) {
    const xec::Geometry geometry = xec::test::full_detector();
    // The same events every time.
    // NOLINTNEXTLINE(bugprone-random-generator-seed,cert-msc32-c,cert-msc51-cpp)
    std::mt19937 random(1);
    const Sample sample = make_events(geometry, events, random);
    const xec::PositionFitter fitter(geometry);
    xec::PositionFitter::Workspace workspace(fitter);
    const xec::Reconstruction reconstruction(geometry, make_constants(geometry));
    xec::Reconstruction::Workspace memory(reconstruction);
    const std::vector<float> time(geometry.size(), 1e-8F);
    std::vector<double> light(geometry.size());
    std::vector<xec::Projections> projections(events);
    double sensors = 0;
    double evaluations = 0;
    double sink = 0;
    const auto npho = [&](std::size_t event) {
        return sample.npho.data() + event * geometry.size();
    };
    const double image = microseconds(events, [&](std::size_t event) {
        xec::live_light(npho(event), nullptr, light.data());
        projections[event] = xec::project(light.data());
    });
    const double stage1 = microseconds(events, [&](std::size_t event) {
        sink += xec::fit_projections(projections[event], sample.starts[event]).uvw[0];
    });
    const double fit = microseconds(events, [&](std::size_t event) {
        const auto found = fitter.fit(npho(event), nullptr, sample.starts[event], workspace);
        sink += found.scale;
    });
    for (std::size_t event = 0; event < events; ++event) {
        const auto found = fitter.fit(npho(event), nullptr, sample.starts[event], workspace);
        sensors += found.n_sensors;
        evaluations += static_cast<double>(found.n_sensors) * found.evaluations;
    }
    const double start = microseconds(events, [&](std::size_t event) {
        sink += fitter.brightest(npho(event), nullptr, workspace)[0];
    });
    const double angles = microseconds(events, [&](std::size_t event) {
        xec::solid_angle(geometry, xec::uvw_to_xyz(sample.starts[event]), light.data());
        sink += light[0];
    });
    const double all = microseconds(events, [&](std::size_t event) {
        const auto seen =
            reconstruction.observe(npho(event), time.data(), nullptr, {kNaN, kNaN, kNaN}, memory);
        sink += seen.light[0];
    });
    const auto [root, quotient] = arithmetic();
    const auto count = static_cast<double>(events);
    // Of one MPPC with its slope: 16 roots; 8 quotients of corners, 4 of rows, 2 of the arctangent.
    const double bound = evaluations / count * (16 * root + 14 * quotient) / 1e3;
    // NOLINTBEGIN(modernize-raw-string-literal): JSON with numbers between the keys
    std::cout << "{\"events\": " << events << ", \"sensors_per_fit\": " << sensors / count
              << ", \"evaluations_per_fit\": " << evaluations / sensors
              << ", \"microseconds\": {\"image_and_projections\": " << image
              << ", \"projection_fits\": " << stage1 << ", \"local_fit\": " << fit - image - stage1
              << ", \"fit\": " << fit << ", \"brightest_region\": " << start
              << ", \"solid_angles_of_all_sensors\": " << angles
              << ", \"whole_reconstruction\": " << all << "}, \"nanoseconds\": {\"root\": " << root
              << ", \"quotient\": " << quotient << "}, \"local_fit_bound_microseconds\": " << bound
              << ", \"checksum\": " << sink << "}\n";
    // NOLINTEND(modernize-raw-string-literal)
}

/// Every event another one: a pool of events with some channels changed to anything.
int soak(std::size_t events) {
    constexpr std::size_t kPool = 200;
    constexpr std::size_t kChanged = 60;
    constexpr std::array<float, 8> kAnything{std::numeric_limits<float>::quiet_NaN(),
                                             std::numeric_limits<float>::infinity(),
                                             -std::numeric_limits<float>::infinity(),
                                             1e10F,
                                             9e8F,
                                             -50.0F,
                                             0.0F,
                                             3e4F};
    const xec::Geometry geometry = xec::test::full_detector();
    // The same events every time.
    // NOLINTNEXTLINE(bugprone-random-generator-seed,cert-msc32-c,cert-msc51-cpp)
    std::mt19937 random(7);
    const Sample pool = make_events(geometry, kPool, random);
    const xec::Reconstruction reconstruction(geometry, make_constants(geometry));
    xec::Reconstruction::Workspace workspace(reconstruction);
    std::vector<float> npho(geometry.size());
    const std::vector<float> time(geometry.size(), 1e-8F);
    std::array<std::size_t, 5> counts{};
    std::size_t inconsistent = 0;
    double before = 0;
    for (std::size_t event = 0; event < events; ++event) {
        const float* const base = pool.npho.data() + (random() % kPool) * geometry.size();
        const float factor = random() % 20 == 0 ? 1e-5F : 1.0F;
        for (std::size_t i = 0; i < npho.size(); ++i) {
            npho[i] = factor * base[i];
        }
        for (std::size_t change = 0; change < kChanged; ++change) {
            npho[random() % npho.size()] = kAnything.at(random() % kAnything.size());
        }
        const xec::Observed seen = reconstruction.observe(npho.data(), time.data(), nullptr,
                                                          {kNaN, kNaN, kNaN}, workspace);
        const xec::Reconstructed result = xec::interpret(reconstruction.constants(), seen);
        const bool fitted = seen.fit.status <= xec::FitStatus::not_converged;
        inconsistent += fitted == std::isfinite(result.energy) ? 0U : 1U;
        ++counts.at(static_cast<std::size_t>(seen.fit.status));
        if (event == events / 10) {
            before = resident_mb();
        }
    }
    const double after = resident_mb();
    // NOLINTBEGIN(modernize-raw-string-literal): JSON with numbers between the keys
    std::cout << "{\"events\": " << events << ", \"status_counts\": [" << counts[0];
    for (std::size_t status = 1; status < counts.size(); ++status) {
        std::cout << ", " << counts.at(status);
    }
    std::cout << "], \"without_a_number\": " << inconsistent
              << ", \"resident_mb_after_a_tenth\": " << before
              << ", \"resident_mb_at_the_end\": " << after << ", \"cpu_seconds\": " << cpu()
              << "}\n";
    // NOLINTEND(modernize-raw-string-literal)
    constexpr double kGrowth = 1.0; // [MB]
    return inconsistent == 0 && after <= before + kGrowth ? 0 : 1;
}

} // namespace

int main(int argc, char** argv) {
    const std::vector<std::string> arguments(argv + 1, argv + argc);
    const std::string mode = arguments.empty() ? "" : arguments[0];
    const auto events = [&arguments](std::size_t usual) -> std::size_t {
        return arguments.size() > 1 ? std::stoul(arguments[1]) : usual;
    };
    try {
        if (mode == "parts") {
            parts(events(200));
            return 0;
        }
        if (mode == "soak") {
            return soak(events(1'000'000));
        }
    } catch (const std::exception& error) {
        std::cerr << error.what() << '\n';
        return 2;
    }
    std::cerr << "usage: xec_reconstruction_benchmark parts|soak [EVENTS]\n";
    return 2;
}
