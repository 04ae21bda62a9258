/// Normalisation of raw sensor values, bit for bit that of `xec_deploy.normalisation`.
///
/// Rules (raw npho in photons, time in seconds), the comments of the Python definition apply:
///   npho-invalid  flagged dead, npho > 9e9, or not finite                -> sentinel_npho
///   domain break  valid, but below the scheme's minimum                  -> 0
///   time-invalid  npho-invalid, npho < threshold, |time| > 9e9, not finite -> sentinel_time
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace xec {

/// Values above this mean "no measurement".
inline constexpr double kInvalidAbove = 9e9;
inline constexpr double kAnscombeOffset = 0.375;

enum class NphoScheme : std::uint8_t { log1p, sqrt, anscombe, linear };

/// @throws std::invalid_argument listing the valid names
[[nodiscard]] NphoScheme npho_scheme(std::string_view name);

/// Parameters; names and defaults are those of the Python definition and of checkpoints.
struct Normalisation {
    NphoScheme npho_scheme = NphoScheme::log1p;
    double npho_scale = 1000.0;
    double npho_scale2 = 4.08;
    double time_scale = 1.14e-7;
    double time_shift = -0.46;
    double sentinel_npho = -1.0;
    double sentinel_time = -1.0;
    double npho_threshold = 100.0;

    /// Smallest npho the scheme is used for.
    [[nodiscard]] double domain_minimum() const noexcept;

    /// @throws std::invalid_argument if a scale is not positive or a value is not finite
    void check() const;
};

/// Normalise `channels` channels into `out`, interleaved (channels, 2): npho, time.
///
/// Computed in double and rounded once. `dead` may be null: no dead channels. Instantiated for
/// float and double input; allocates nothing and shares no state.
template <typename Real>
void normalise(const Normalisation& parameters, const Real* npho, const Real* time,
               const bool* dead, std::size_t channels, float* out) noexcept;

} // namespace xec
