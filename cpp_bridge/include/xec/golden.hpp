/// Golden events: raw inputs with the float64 outputs a bundle must reproduce.
#pragma once

#include "xec/manifest.hpp"

#include <cstddef>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace xec {

/// Values of one output tensor, (events, width) row-major.
struct GoldenOutput {
    std::size_t width = 0;
    std::vector<double> values;
};

struct GoldenEvents {
    std::size_t count = 0;
    /// (count, 4760) photons and seconds.
    std::vector<float> npho;
    std::vector<float> time;
    /// (count, 4760); not a vector<bool>, which has no contiguous flags.
    std::unique_ptr<bool[]> dead; // NOLINT(*-avoid-c-arrays)
    std::map<std::string, GoldenOutput> outputs;
};

/// Read `golden.npz`.
///
/// @throws BundleError if it is missing or damaged
[[nodiscard]] GoldenEvents load_golden(const std::string& path);

/// Largest difference from float64 that a precision may have [detector resolutions].
///
/// The gates of `xec_deploy/gates.yaml`.
///
/// @throws BundleError for a precision without a gate
[[nodiscard]] double parity_gate(const std::string& precision);

/// Largest difference that a single golden event may have: several gates in less than fp32, where
/// rounding differs from event to event and a gate is for its spread.
///
/// @throws BundleError for a precision without a gate
[[nodiscard]] double single_event_gate(const std::string& precision);

/// Largest absolute difference of an output from the first `events` golden events.
///
/// In detector resolutions; outputs without one (class logits, predicted sigmas) are measured
/// against the larger of their spread and magnitude, scaled so that the fp32 gate stands for a
/// relative difference of 1e-5. Infinite where a value is not a number.
///
/// @param values  (events, width) row-major
[[nodiscard]] double worst_difference(const Manifest& manifest, const std::string& output,
                                      const GoldenOutput& reference, const float* values,
                                      std::size_t events);

} // namespace xec
