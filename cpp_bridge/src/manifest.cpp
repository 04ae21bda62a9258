#include "xec/manifest.hpp"

#include "xec/error.hpp"

#include <nlohmann/json.hpp>
#include <stdexcept>

namespace xec {

namespace {

// Ordered: tasks stay in the order of the graph's outputs.
using Json = nlohmann::ordered_json;

constexpr int kFormatVersion = 1;

/// One JSON object and where it stands, for errors.
class Record {
  public:
    Record(const Json& json, std::string where) : json_(&json), where_(std::move(where)) {
        if (!json.is_object()) {
            throw BundleError("the manifest has a wrong structure", where_);
        }
    }

    [[nodiscard]] const Json& operator[](const std::string& key) const {
        const auto found = json_->find(key);
        if (found == json_->end()) {
            throw BundleError("the manifest lacks the key '" + key + "'", where_);
        }
        return *found;
    }

    template <typename T> [[nodiscard]] T get(const std::string& key) const {
        return convert<T>((*this)[key], key);
    }

    /// A value that may be absent or null.
    template <typename T> [[nodiscard]] T get(const std::string& key, const T& absent) const {
        const auto found = json_->find(key);
        return found == json_->end() || found->is_null() ? absent : convert<T>(*found, key);
    }

    [[nodiscard]] Record object(const std::string& key) const { return {(*this)[key], where_}; }

    [[nodiscard]] const Json& json() const { return *json_; }
    [[nodiscard]] const std::string& where() const { return where_; }

  private:
    template <typename T> [[nodiscard]] T convert(const Json& value, const std::string& key) const {
        try {
            return value.get<T>();
        } catch (const Json::exception&) {
            throw BundleError("the manifest's key '" + key + "' has a wrong type", where_);
        }
    }

    const Json* json_;
    std::string where_;
};

Normalisation parse_normalisation(const Record& record) {
    try {
        const Normalisation parameters{npho_scheme(record.get<std::string>("npho_scheme")),
                                       record.get<double>("npho_scale"),
                                       record.get<double>("npho_scale2"),
                                       record.get<double>("time_scale"),
                                       record.get<double>("time_shift"),
                                       record.get<double>("sentinel_npho"),
                                       record.get<double>("sentinel_time"),
                                       record.get<double>("npho_threshold")};
        parameters.check();
        return parameters;
    } catch (const std::invalid_argument& error) {
        throw BundleError(error.what(), record.where());
    }
}

Task parse_task(const std::string& name, const Record& record) {
    Task task{name, {}, record.get<bool>("has_sigma", false)};
    const Json& outputs = record["outputs"];
    if (!outputs.is_array()) {
        throw BundleError("the manifest's key 'outputs' has a wrong type", record.where());
    }
    for (const Json& json : outputs) {
        const Record output(json, record.where());
        task.outputs.push_back(
            {output.get<std::string>("name"), output.get<std::string>("unit", {}), std::nullopt});
        if (!output["detector_sigma"].is_null()) {
            task.outputs.back().detector_sigma = output.get<double>("detector_sigma");
        }
    }
    return task;
}

Json parse(const std::string& text, const std::string& where) {
    try {
        return Json::parse(text);
    } catch (const Json::exception&) {
        throw BundleError("the manifest is not valid JSON", where);
    }
}

} // namespace

const Task& Manifest::task(const std::string& task_name) const {
    std::string names;
    for (const Task& candidate : tasks) {
        if (candidate.name == task_name) {
            return candidate;
        }
        names += (names.empty() ? "" : ", ") + candidate.name;
    }
    throw UsageError("the model has no task '" + task_name + "'", {}, "Valid: " + names + ".");
}

Manifest parse_manifest(const std::string& json, const std::string& where) {
    const Json parsed = parse(json, where);
    const Record record(parsed, where);
    const int version = record.get<int>("format_version");
    if (version != kFormatVersion) {
        throw BundleError("bundle format " + std::to_string(version) + " is not " +
                              std::to_string(kFormatVersion) + ", which this library reads",
                          where, "Update the library, or export the bundle with its version.");
    }
    if (const auto io = record.get<std::string>("io", "raw"); io != "raw") {
        throw BundleError("the graph takes '" + io + "' inputs, not raw events", where,
                          "Export the bundle without --io.");
    }
    if (const auto kind = record.get<std::string>("kind", "regressor"); kind == "encoder") {
        throw BundleError("the model is an encoder, whose tokens this library does not give", where,
                          "Export a regressor or an inpainter.");
    }
    Manifest manifest;
    manifest.name = record.get<std::string>("name");
    manifest.producer = record.get<std::string>("producer");
    manifest.layout = record.get<std::string>("layout");
    manifest.normalisation = parse_normalisation(record.object("normalisation"));
    const Record tasks = record.object("tasks");
    for (const auto& [name, json_task] : tasks.json().items()) {
        manifest.tasks.push_back(parse_task(name, {json_task, where}));
    }
    manifest.max_dead = record.object("dead_channels").get<std::size_t>("max_dead");
    if (const auto graphs = parsed.find("graphs"); graphs != parsed.end()) {
        for (const auto& [precision, json_graph] : graphs->items()) {
            const Record graph(json_graph, where);
            manifest.graphs[precision] = {graph.get<std::string>("file"),
                                          graph.get<std::string>("sha256")};
        }
    }
    manifest.golden_sha256 = record.get<std::string>("golden_sha256", {});
    return manifest;
}

bool same_model(const std::string& json, const std::string& other) {
    nlohmann::json first = parse(json, "manifest");
    nlohmann::json second = parse(other, "manifest");
    for (const char* hash : {"graphs", "parts", "engines", "golden_sha256"}) {
        first.erase(hash);
        second.erase(hash);
    }
    return first == second;
}

} // namespace xec
