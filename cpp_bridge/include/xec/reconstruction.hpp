/// The conventional reconstruction of an event: position, energy and time.
///
/// First what is seen (the position fit, the light of each face with dead channels recovered, the
/// mean emission time), then what it means in cm, GeV and s by constants of a run.
#pragma once

#include "xec/dead_channels.hpp"
#include "xec/energy.hpp"
#include "xec/events.hpp"
#include "xec/geometry.hpp"
#include "xec/position_fit.hpp"
#include "xec/timing.hpp"

#include <array>
#include <cstddef>
#include <limits>
#include <vector>

namespace xec {

/// What an event shows; NaN where it shows nothing.
struct Observed {
    PositionFit fit;
    FaceLight light{};
    /// Solid angle of the MPPC that sees most, from the fitted point.
    double largest = std::numeric_limits<double>::quiet_NaN();
    double emission_time = std::numeric_limits<double>::quiet_NaN(); ///< [s]
};

/// From the centre of the light to the first interaction, and from sums to physics.
struct ReconstructionConstants {
    EnergyConstants energy;
    TimingConstants channels;
    DeadMethod recovery = DeadMethod::solid_angle;
    /// u (or v) is offset + x (factor + slope w + cubic x^2), x the fitted one [cm].
    std::array<double, 4> u{0, 1, 0, 0};
    std::array<double, 4> v{0, 1, 0, 0};
    /// w is a polynomial in the fitted w [cm] plus another times the logarithm of the light.
    Polynomial w{0, 1};
    Polynomial w_light{0};
    std::array<double, 2> w_range{0, 45}; ///< [cm]
    /// Subtracted from the emission time [s]: the same in the estimated w, here up to 20 cm.
    Polynomial time{0};
    double time_light = 0;

    /// @throws std::invalid_argument if a number is missing or not finite
    void check(std::size_t sensors) const;
};

struct Reconstructed {
    Vec3 uvw{};          ///< first interaction [cm]
    double energy = 0.0; ///< [GeV]
    double time = 0.0;   ///< [s], in the frame of the channels' times
};

[[nodiscard]] Reconstructed interpret(const ReconstructionConstants& constants,
                                      const Observed& observed) noexcept;

/// Reconstructs events of one geometry. Immutable: threads share it, each with a workspace.
class Reconstruction {
  public:
    /// Memory of one event at a time, allocated once.
    class Workspace {
      public:
        explicit Workspace(const Reconstruction& reconstruction);

      private:
        friend class Reconstruction;
        PositionFitter::Workspace fit_;
        TimingWorkspace timing_;
        std::vector<double> fractions_;
        std::vector<double> predicted_;
    };

    /// @throws std::invalid_argument if the geometry or the constants cannot be used
    Reconstruction(const Geometry& geometry, ReconstructionConstants constants);

    /// @param start  uvw [cm] for the position fit; its u and v NaN for the brightest region
    template <typename Real>
    [[nodiscard]] Observed observe(const Real* npho, const Real* time, const bool* dead,
                                   const Vec3& start, Workspace& workspace) const noexcept;

    [[nodiscard]] const Geometry& geometry() const noexcept { return fitter_.geometry(); }
    [[nodiscard]] const ReconstructionConstants& constants() const noexcept { return constants_; }

  private:
    PositionFitter fitter_;
    DeadRecovery recovery_;
    ReconstructionConstants constants_;
};

/// Reconstruct many events into `observed` and `reconstructed` (events.count each).
///
/// The result does not depend on the number of threads. The event loop allocates nothing.
///
/// @param time    (events.count, sensors) [s]
/// @param starts  (events.count, 3) uvw [cm], or null for the brightest region of each event
/// @throws std::bad_alloc before the first event
template <typename Real>
void reconstruct(const Reconstruction& reconstruction, const Events<Real>& events, const Real* time,
                 const double* starts, Observed* observed, Reconstructed* reconstructed,
                 unsigned threads = 1);

} // namespace xec
