#include "bundle.hpp"

#include "xec/error.hpp"
#include "xec/geometry.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

#include "file.hpp"
#include "sha256.hpp"

namespace xec {

namespace {

namespace fs = std::filesystem;

constexpr const char* kManifestFile = "manifest.json";
constexpr const char* kGoldenFile = "golden.npz";
constexpr const char* kMetadataKey = "xec.manifest";
constexpr const char* kLonePrecision = "fp32";

std::string metadata(const Session& session, const std::string& where) {
    std::string text = session.metadata(kMetadataKey);
    if (text.empty()) {
        throw BundleError("the ONNX file has no manifest in its metadata", where,
                          "Without it neither normalisation nor units are known; export it with "
                          "xec-deploy.");
    }
    return text;
}

/// A file of the bundle, after its hash was compared.
std::string verified(const fs::path& folder, const std::string& name, const std::string& hash) {
    const fs::path path = folder / name;
    if (fs::path(name).filename() != name || !fs::is_regular_file(path)) {
        throw BundleError("the bundle lacks '" + name + "'", folder.string());
    }
    std::string bytes = read_file(path);
    if (sha256(bytes) != hash) {
        throw BundleError("'" + name +
                              "' is not the file the manifest describes (its hash differs)",
                          folder.string(), "The bundle was damaged or edited; export it again.");
    }
    return bytes;
}

Bundle open_file(const fs::path& path, const Runtime& runtime, const ModelOptions& options) {
    if (options.precision != kLonePrecision) {
        throw UsageError("a lone ONNX file has no '" + options.precision + "' graph",
                         path.string());
    }
    const std::string where = path.string();
    Session session(runtime, read_file(path), options.threads, where);
    Manifest manifest = parse_manifest(metadata(session, where), where);
    return {std::move(manifest), std::move(session), std::nullopt, {}};
}

Bundle open_folder(const fs::path& folder, const Runtime& runtime, const ModelOptions& options) {
    const fs::path file = folder / kManifestFile;
    if (!fs::is_regular_file(file)) {
        throw BundleError(std::string("not a bundle: it has no ") + kManifestFile, folder.string());
    }
    const std::string json = read_file(file);
    Manifest manifest = parse_manifest(json, file.string());
    const auto& graphs = manifest.graphs;
    const auto chosen = graphs.find(options.precision);
    if (chosen == graphs.end()) {
        std::string names;
        for (const auto& [name, graph] : graphs) {
            names += (names.empty() ? "" : ", ") + name;
        }
        throw UsageError("the bundle has no '" + options.precision + "' graph", folder.string(),
                         "Valid: " + names + ".");
    }
    static_cast<void>(verified(folder, kGoldenFile, manifest.golden_sha256));
    GoldenEvents golden = load_golden((folder / kGoldenFile).string());
    const std::string& name = chosen->second.file;
    const std::string where = (folder / name).string();
    // Loaded from the very bytes that were hashed.
    Session session(runtime, verified(folder, name, chosen->second.sha256), options.threads, where);
    if (!same_model(metadata(session, where), json)) {
        throw BundleError(std::string(kManifestFile) + " disagrees with the metadata of '" + name +
                              "'",
                          folder.string(), "The manifest was edited; export the bundle again.");
    }
    for (const auto& [precision, graph] : graphs) {
        if (precision != options.precision) {
            static_cast<void>(verified(folder, graph.file, graph.sha256));
        }
    }
    return {std::move(manifest), std::move(session), std::move(golden), {}};
}

/// The outputs the contract prescribes for a manifest: tasks, or filled channels.
std::vector<Tensor> expected_outputs(const Manifest& manifest) {
    std::vector<Tensor> tensors;
    for (const Task& task : manifest.tasks) {
        if (task.name == kFilled) {
            continue;
        }
        tensors.push_back({task.name, task.outputs.size()});
        if (task.has_sigma) {
            tensors.push_back({task.name + "_sigma", task.outputs.size()});
        }
    }
    if (tensors.empty()) {
        tensors.push_back({std::string(kFilled), kSensors});
    }
    return tensors;
}

void check_port(const std::vector<Port>& ports, const std::string& name,
                ONNXTensorElementDataType type, std::size_t width, const std::string& where) {
    const auto port =
        std::find_if(ports.begin(), ports.end(), [&](const Port& p) { return p.name == name; });
    if (port == ports.end()) {
        throw BundleError("the graph has no '" + name + "', which its manifest promises", where);
    }
    if (port->type != type || port->shape.size() != 2 || port->shape[0] >= 0 ||
        port->shape[1] != static_cast<std::int64_t>(width)) {
        throw BundleError("the graph's '" + name +
                              "' has a wrong type or shape, expected (batch, " +
                              std::to_string(width) + ")",
                          where);
    }
}

void check_interface(const Session& session, const std::vector<Tensor>& tensors,
                     const std::string& where) {
    const std::vector<Port> inputs = session.inputs();
    const std::vector<Port> outputs = session.outputs();
    if (inputs.size() != 3 || outputs.size() != tensors.size()) {
        throw BundleError("the graph has " + std::to_string(inputs.size()) + " inputs and " +
                              std::to_string(outputs.size()) + " outputs, expected 3 and " +
                              std::to_string(tensors.size()),
                          where);
    }
    check_port(inputs, "npho", ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, kSensors, where);
    check_port(inputs, "time", ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, kSensors, where);
    check_port(inputs, "dead", ONNX_TENSOR_ELEMENT_DATA_TYPE_BOOL, kSensors, where);
    for (const Tensor& tensor : tensors) {
        check_port(outputs, tensor.name, ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, tensor.width, where);
    }
}

} // namespace

Bundle open_bundle(const fs::path& path, const Runtime& runtime, const ModelOptions& options) {
    if (!fs::exists(path)) {
        throw BundleError("no such bundle", path.string(),
                          "Pass a folder NAME.xec or an ONNX file.");
    }
    Bundle bundle = fs::is_directory(path) ? open_folder(path, runtime, options)
                                           : open_file(path, runtime, options);
    bundle.tensors = expected_outputs(bundle.manifest);
    check_interface(bundle.session, bundle.tensors, path.string());
    return bundle;
}

} // namespace xec
