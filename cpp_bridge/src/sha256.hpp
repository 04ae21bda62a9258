/// SHA-256 (FIPS 180-4), the hash of a bundle's files.
#pragma once

#include <string>
#include <string_view>

namespace xec {

/// @returns 64 hexadecimal digits
[[nodiscard]] std::string sha256(std::string_view bytes);

} // namespace xec
