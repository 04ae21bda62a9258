#include "xec/normalisation.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <string>

#include "clones.hpp"

namespace xec {

namespace {

constexpr std::size_t kBlock = 256;
constexpr double kInfinity = std::numeric_limits<double>::infinity();
using Block = std::array<double, kBlock>;

bool is_npho(double npho) noexcept {
    return npho > -kInfinity && npho <= kInvalidAbove;
}

bool is_time(double npho, double time, double threshold) noexcept {
    return is_npho(npho) && npho >= threshold && std::abs(time) <= kInvalidAbove;
}

// The Python definition in three sweeps over a block that stays in the first-level cache: select
// what is transformed (so that no NaN arises), transform, select what is written. Each alone is
// free of branches and vectorises; in one loop the compiler gives up.

XEC_CLONES void select(const Normalisation& p, double minimum, const Block& npho, const Block& time,
                       Block& npho_norm, Block& time_norm) noexcept {
    const double threshold = p.npho_threshold;
    for (std::size_t k = 0; k < kBlock; ++k) {
        npho_norm[k] = is_npho(npho[k]) && npho[k] >= minimum ? npho[k] : 0.0;
        time_norm[k] = is_time(npho[k], time[k], threshold) ? time[k] : 0.0;
    }
}

XEC_CLONES void transform(const Normalisation& given, Block& npho, Block& time) noexcept {
    const Normalisation p = given; // no alias of the arrays, so its fields stay in registers
    switch (p.npho_scheme) {
    case NphoScheme::log1p:
        for (double& n : npho) {
            n = std::log(1.0 + n / p.npho_scale) / p.npho_scale2;
        }
        break;
    case NphoScheme::sqrt:
        for (double& n : npho) {
            n = std::sqrt(n / p.npho_scale);
        }
        break;
    case NphoScheme::anscombe:
        for (double& n : npho) {
            n = std::sqrt((n + kAnscombeOffset) / (p.npho_scale + kAnscombeOffset));
        }
        break;
    case NphoScheme::linear:
        for (double& n : npho) {
            n /= p.npho_scale;
        }
        break;
    }
    for (double& t : time) {
        t = t / p.time_scale - p.time_shift;
    }
}

XEC_CLONES void write(const Normalisation& given, double minimum, const Block& npho,
                      const Block& time, const Block& npho_norm, const Block& time_norm,
                      std::size_t size, float* out) noexcept {
    const double threshold = given.npho_threshold;
    // Python adds the sentinels to a zero array, which turns -0.0 into 0.0.
    const double sentinel_npho = 0.0 + given.sentinel_npho;
    const double sentinel_time = 0.0 + given.sentinel_time;
    for (std::size_t k = 0; k < size; ++k) {
        const double in_domain = npho[k] >= minimum ? npho_norm[k] : 0.0;
        const double n = is_npho(npho[k]) ? in_domain : sentinel_npho;
        const double t = is_time(npho[k], time[k], threshold) ? time_norm[k] : sentinel_time;
        out[2 * k] = static_cast<float>(n);
        out[2 * k + 1] = static_cast<float>(t);
    }
}

} // namespace

NphoScheme npho_scheme(std::string_view name) {
    if (name == "log1p") {
        return NphoScheme::log1p;
    }
    if (name == "sqrt") {
        return NphoScheme::sqrt;
    }
    if (name == "anscombe") {
        return NphoScheme::anscombe;
    }
    if (name == "linear") {
        return NphoScheme::linear;
    }
    throw std::invalid_argument("unknown npho scheme '" + std::string(name) +
                                "'. Valid: anscombe, linear, log1p, sqrt.");
}

double Normalisation::domain_minimum() const noexcept {
    switch (npho_scheme) {
    case NphoScheme::log1p:
        return -0.999 * npho_scale;
    case NphoScheme::sqrt:
        return 0.0;
    case NphoScheme::anscombe:
        return -kAnscombeOffset;
    case NphoScheme::linear:
        break;
    }
    return -std::numeric_limits<double>::infinity();
}

void Normalisation::check() const {
    for (const double scale : {npho_scale, npho_scale2, time_scale}) {
        if (!(scale > 0) || !std::isfinite(scale)) {
            throw std::invalid_argument("a scale of the normalisation is " + std::to_string(scale) +
                                        ", it must be positive and finite");
        }
    }
    for (const double value : {time_shift, sentinel_npho, sentinel_time, npho_threshold}) {
        if (!std::isfinite(value)) {
            throw std::invalid_argument("a parameter of the normalisation is not finite");
        }
    }
}

template <typename Real>
void normalise(const Normalisation& parameters, const Real* npho, const Real* time,
               const bool* dead, std::size_t channels, float* out) noexcept {
    // Times one keeps every bit, times infinity leaves nothing that passes as valid.
    constexpr std::array<double, 2> poison{1.0, kInfinity};
    const double minimum = parameters.domain_minimum();
    Block n{};
    Block t{};
    Block n_norm{};
    Block t_norm{};
    for (std::size_t begin = 0; begin < channels; begin += kBlock) {
        const std::size_t size = std::min(kBlock, channels - begin);
        std::copy_n(npho + begin, size, n.begin());
        std::copy_n(time + begin, size, t.begin());
        if (dead != nullptr) {
            for (std::size_t k = 0; k < size; ++k) {
                n[k] *= poison[dead[begin + k] ? 1 : 0];
            }
        }
        select(parameters, minimum, n, t, n_norm, t_norm);
        transform(parameters, n_norm, t_norm);
        write(parameters, minimum, n, t, n_norm, t_norm, size, out + 2 * begin);
    }
}

template void normalise(const Normalisation&, const float*, const float*, const bool*, std::size_t,
                        float*) noexcept;
template void normalise(const Normalisation&, const double*, const double*, const bool*,
                        std::size_t, float*) noexcept;

} // namespace xec
