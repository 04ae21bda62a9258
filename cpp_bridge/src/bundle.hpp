/// Opening a bundle proves that its files belong together.
#pragma once

#include "xec/golden.hpp"
#include "xec/manifest.hpp"
#include "xec/model.hpp"

#include <filesystem>
#include <optional>
#include <string_view>
#include <vector>

#include "session.hpp"

namespace xec {

/// Output of a model that fills dead channels.
inline constexpr std::string_view kFilled = "npho_filled";

struct Bundle {
    Manifest manifest;
    Session session;
    /// None for a lone ONNX file.
    std::optional<GoldenEvents> golden;
    /// The graph's outputs as the manifest promises them.
    std::vector<Tensor> tensors;
};

/// Open a folder or a lone ONNX file and verify hashes, metadata, inputs and outputs.
///
/// @throws BundleError, UsageError
[[nodiscard]] Bundle open_bundle(const std::filesystem::path& path, const Runtime& runtime,
                                 const ModelOptions& options);

} // namespace xec
