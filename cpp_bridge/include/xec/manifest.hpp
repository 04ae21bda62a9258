/// The manifest of a bundle: everything a model's numbers depend on besides its weights.
///
/// The definition is `xec_deploy.bundle.manifest`; here is what a caller in C++ needs of it.
#pragma once

#include "xec/normalisation.hpp"

#include <cstddef>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace xec {

/// One component of a task.
struct Output {
    std::string name;
    /// Empty for a pure number.
    std::string unit;
    /// Resolution of the detector in `unit`, the yardstick of parity.
    std::optional<double> detector_sigma;
};

/// One output tensor of the graph, physical units.
struct Task {
    std::string name;
    std::vector<Output> outputs;
    /// Whether the graph also has `<name>_sigma`, of the same shape.
    bool has_sigma = false;
};

/// One ONNX file of the bundle.
struct Graph {
    std::string file;
    std::string sha256;
};

struct Manifest {
    std::string name;
    std::string producer;
    std::string layout;
    Normalisation normalisation;
    std::vector<Task> tasks;
    /// Events with more dead channels get no numbers.
    std::size_t max_dead = 0;
    /// By precision; empty in the metadata of an ONNX file.
    std::map<std::string, Graph> graphs;
    std::string golden_sha256;

    /// @throws UsageError listing the tasks
    [[nodiscard]] const Task& task(const std::string& name) const;
};

/// Read a manifest.
///
/// @param where  the file, for errors
/// @throws BundleError naming the key that is missing or wrong
[[nodiscard]] Manifest parse_manifest(const std::string& json, const std::string& where);

/// Whether two manifests are equal but for the hashes, which an ONNX file cannot hold of itself.
[[nodiscard]] bool same_model(const std::string& json, const std::string& other);

} // namespace xec
