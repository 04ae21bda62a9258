/// Whole files.
#pragma once

#include <filesystem>
#include <string>

namespace xec {

/// @throws BundleError if the file cannot be read
[[nodiscard]] std::string read_file(const std::filesystem::path& path);

} // namespace xec
