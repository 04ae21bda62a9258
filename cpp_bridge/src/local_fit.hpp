/// Second stage of the position fit: sensors near a point against scale x solid angle.
#pragma once

#include "xec/geometry.hpp"

#include <array>
#include <cstddef>
#include <cstdint>

#include "minimise.hpp"

namespace xec {

/// Sensors are handled so many at a time; the last block is padded.
inline constexpr std::size_t kBlock = 32;

/// What the second stage needs of its sensors, one contiguous column each.
enum class Column : std::uint8_t {
    position_x,
    position_y,
    position_z,
    normal_x,
    normal_y,
    normal_z,
    axis_u_x,
    axis_u_y,
    axis_u_z,
    axis_v_x,
    axis_v_y,
    photons,
    weight
};
inline constexpr std::size_t kSelectionColumns = 13;

constexpr std::size_t padded(std::size_t size) {
    return (size + kBlock - 1) / kBlock * kBlock;
}

/// The selected sensors of an event in memory that is someone else's.
class Selection {
  public:
    /// @param data      kSelectionColumns x capacity
    /// @param capacity  a multiple of `kBlock`
    Selection(double* data, std::size_t capacity) noexcept : data_(data), capacity_(capacity) {}

    /// Add an MPPC with its light [photons].
    void add(const Geometry& geometry, std::size_t sensor, double light) noexcept;
    /// Fill the last block with sensors that have no weight.
    void pad() const noexcept;

    [[nodiscard]] double* column(Column c) const noexcept {
        return data_ + static_cast<std::size_t>(c) * capacity_;
    }
    /// Sensors added.
    [[nodiscard]] std::size_t size() const noexcept { return size_; }
    /// Sum of weight x photons^2.
    [[nodiscard]] double squares() const noexcept { return squares_; }

  private:
    double* data_;
    std::size_t capacity_;
    std::size_t size_ = 0;
    double squares_ = 0;
};

/// Sums of products of photons n, solid angle f and its slopes g along x, y, z, over all sensors.
struct Sums {
    double nf = 0;
    double ff = 0;
    std::array<double, 3> ng{};
    std::array<double, 3> fg{};
    std::array<double, 6> gg{}; // xx, xy, xz, yy, yz, zz
};

/// The sums with slopes along u, v and w instead of x, y and z.
struct Slopes {
    Parameters<3> n{};
    Parameters<3> f{};
    Matrix<3> g{};
};

/// Half the chi-square at the best scale, as a function of u, v and w, and what it is made of.
struct LocalModel : Quadratic<3> {
    double scale = 0;
    double ff = 0;
    Slopes slopes;
};

/// Variable projection, with Kaufman's matrix (L. Kaufman, BIT 15 (1975) 49).
[[nodiscard]] LocalModel local_model(const Selection& selection, const Vec3& uvw) noexcept;

/// The inverse of the Gauss-Newton matrix in (u, v, w, scale), row-major.
[[nodiscard]] std::array<double, 16> covariance(const LocalModel& model) noexcept;

} // namespace xec
