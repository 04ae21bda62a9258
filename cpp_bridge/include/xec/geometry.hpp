/// Sensor geometry and detector coordinates [cm].
///
/// The calorimeter sits at negative x; u runs along the beam, v along the inner surface, w is the
/// depth behind it. The definitions are those of the Python package `xec_deploy.detector`.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace xec {

inline constexpr std::size_t kSensors = 4760;
inline constexpr std::size_t kMppcs = 4092;

inline constexpr double kInnerRadius = 64.84;
inline constexpr double kMppcHeight = 0.13;
/// Radius of the photoelectric surface of the inner face, where w = 0.
inline constexpr double kEffectiveRadius = kInnerRadius + kMppcHeight;
/// An MPPC is four square chips; along each axis one spans these distances from the centre.
inline constexpr double kChipInnerEdge = 0.025;
inline constexpr double kChipOuterEdge = 0.615;
inline constexpr double kPmtRadius = 2.25;

enum class Face : std::int8_t { inner, outer, upstream, downstream, top, bottom };
inline constexpr std::int8_t kFaces = 6;

using Vec3 = std::array<double, 3>;

/// u = z, v = R_eff atan2(y, -x), w = hypot(x, y) - R_eff.
[[nodiscard]] Vec3 xyz_to_uvw(const Vec3& xyz) noexcept;

/// x = -(w + R_eff) cos(v / R_eff), y = (w + R_eff) sin(v / R_eff), z = u.
[[nodiscard]] Vec3 uvw_to_xyz(const Vec3& uvw) noexcept;

/// Many vectors, one contiguous array per component, as vector units read them.
struct Columns {
    std::vector<double> x;
    std::vector<double> y;
    std::vector<double> z;

    explicit Columns(std::size_t size) : x(size), y(size), z(size) {}

    [[nodiscard]] Vec3 operator[](std::size_t i) const { return {x[i], y[i], z[i]}; }
    void set(std::size_t i, const Vec3& v) {
        x[i] = v[0];
        y[i] = v[1];
        z[i] = v[2];
    }
};

/// Where every sensor is and where it looks; immutable, so any number of threads may share one.
class Geometry {
  public:
    /// @param positions  (size, 3) row-major [cm]
    /// @param normals    (size, 3) row-major unit vectors into the xenon
    /// @param faces      (size) values of `Face`; the MPPCs, face inner, come first
    /// @throws std::invalid_argument naming the first sensor that is wrong
    Geometry(const double* positions, const double* normals, const std::int8_t* faces,
             std::size_t size);

    [[nodiscard]] std::size_t size() const noexcept { return faces_.size(); }
    [[nodiscard]] std::size_t mppcs() const noexcept { return mppcs_; }

    [[nodiscard]] const Columns& position() const noexcept { return position_; }
    [[nodiscard]] const Columns& normal() const noexcept { return normal_; }
    /// In-plane axes of the MPPCs: e_u, the normalised part of z orthogonal to the normal n, and
    /// e_v = z x n normalised; zero for the PMTs, whose discs need none.
    [[nodiscard]] const Columns& axis_u() const noexcept { return axis_u_; }
    [[nodiscard]] const Columns& axis_v() const noexcept { return axis_v_; }
    [[nodiscard]] Face face(std::size_t sensor) const { return faces_[sensor]; }

  private:
    std::size_t mppcs_ = 0;
    Columns position_;
    Columns normal_;
    Columns axis_u_;
    Columns axis_v_;
    std::vector<Face> faces_;
};

} // namespace xec
