#include "xec/model.hpp"

#include "xec/error.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <utility>

#include "bundle.hpp"
#include "quantities.hpp"

namespace xec {

namespace {

/// Golden events run on opening.
constexpr std::size_t kOpeningEvents = 4;
constexpr unsigned kMostThreads = 1024;
constexpr std::size_t kLargestBatch = 65536;

ModelOptions checked(ModelOptions options) {
    if (options.threads < 1 || options.threads > kMostThreads) {
        throw UsageError("threads is " + std::to_string(options.threads) + ", expected 1 to " +
                         std::to_string(kMostThreads));
    }
    if (options.batch < 1 || options.batch > kLargestBatch) {
        throw UsageError("a batch of " + std::to_string(options.batch) + " events, expected 1 to " +
                         std::to_string(kLargestBatch));
    }
    return options;
}

} // namespace

struct Model::Implementation {
    Implementation(const std::filesystem::path& path, const ModelOptions& given)
        : options(checked(given)), runtime(&Runtime::load(options.runtime)),
          bundle(open_bundle(path, *runtime, options)), quantities(bundle.manifest, bundle.tensors),
          live(new bool[options.batch * kSensors]()) { // NOLINT(*-owning-memory)
        if (bundle.golden) {
            check_golden(*bundle.golden, path.string());
        }
    }

    void check_golden(const GoldenEvents& golden, const std::string& where) const {
        const std::vector<Tensor>& tensors = bundle.tensors;
        const std::size_t events = std::min(kOpeningEvents, golden.count);
        if (events == 0) {
            throw BundleError("there are no golden events", where, "Export the bundle again.");
        }
        std::vector<std::vector<float>> values;
        std::vector<float*> out;
        for (const Tensor& tensor : tensors) {
            values.emplace_back(events * tensor.width);
            out.push_back(values.back().data());
        }
        run({events, golden.npho.data(), golden.time.data(), golden.dead.get()}, out);
        const double gate = single_event_gate(options.precision);
        for (std::size_t t = 0; t < tensors.size(); ++t) {
            const std::string& name = tensors[t].name;
            const auto reference = golden.outputs.find(name);
            if (reference == golden.outputs.end() || reference->second.width != tensors[t].width) {
                throw BundleError("the golden events have no output '" + name + "'", where,
                                  "Export the bundle again.");
            }
            const double worst =
                worst_difference(bundle.manifest, name, reference->second, out[t], events);
            if (!(worst <= gate)) {
                throw CheckFailed("golden events are not reproduced: output '" + name +
                                      "' differs by " + std::to_string(worst) +
                                      " detector sigma, allowed is " + std::to_string(gate),
                                  where,
                                  "The graph and its golden events do not belong together; export "
                                  "again.");
            }
        }
    }

    void run(const RawEvents& events, const std::vector<float*>& out) const {
        const std::vector<Tensor>& tensors = bundle.tensors;
        if (out.size() != tensors.size()) {
            throw UsageError("room for " + std::to_string(out.size()) + " outputs, the model has " +
                             std::to_string(tensors.size()));
        }
        std::vector<Buffer> outputs(tensors.size());
        for (std::size_t first = 0; first < events.count; first += options.batch) {
            const std::size_t count = std::min(options.batch, events.count - first);
            const std::size_t offset = first * kSensors;
            const bool* dead = events.dead == nullptr ? live.get() : events.dead + offset;
            for (std::size_t t = 0; t < tensors.size(); ++t) {
                const auto& [name, width] = tensors[t];
                outputs[t] = {name.c_str(), ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT,
                              out[t] + first * width, count * width * sizeof(float),
                              static_cast<std::int64_t>(width)};
            }
            bundle.session.run(
                {input("npho", ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, events.npho + offset,
                       count * sizeof(float)),
                 input("time", ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, events.time + offset,
                       count * sizeof(float)),
                 input("dead", ONNX_TENSOR_ELEMENT_DATA_TYPE_BOOL, dead, count * sizeof(bool))},
                outputs, count);
        }
    }

    /// @param bytes  for one channel of all events
    static Buffer input(const char* name, ONNXTensorElementDataType type, const void* data,
                        std::size_t bytes) {
        // NOLINTNEXTLINE(*-const-cast): the interface has one kind of tensor, inputs are only read
        return {name, type, const_cast<void*>(data), bytes * kSensors,
                static_cast<std::int64_t>(kSensors)};
    }

    [[nodiscard]] std::uint32_t input_status(const RawEvents& events, std::size_t event) const {
        std::size_t dead = 0;
        for (std::size_t i = event * kSensors; i < (event + 1) * kSensors; ++i) {
            const bool valid = std::isfinite(events.npho[i]) && events.npho[i] <= kInvalidAbove;
            dead += !valid || (events.dead != nullptr && events.dead[i]) ? 1 : 0;
        }
        return (dead > bundle.manifest.max_dead ? kStatusTooManyDead : 0U) |
               (dead == kSensors ? kStatusNoValidInput : 0U);
    }

    [[nodiscard]] bool inpaints() const noexcept {
        return bundle.tensors.size() == 1 && bundle.tensors.front().name == kFilled;
    }

    void expect_inpainter() const {
        if (!inpaints()) {
            throw UsageError("the model '" + bundle.manifest.name + "' does not fill dead channels",
                             {}, "Use a bundle exported from an inpainter.");
        }
    }

    ModelOptions options;
    const Runtime* runtime;
    Bundle bundle;
    Quantities quantities;
    /// Flags of a batch without dead channels.
    std::unique_ptr<bool[]> live; // NOLINT(*-avoid-c-arrays)
};

Model::Model(const std::filesystem::path& path, const ModelOptions& options)
    : implementation_(std::make_unique<Implementation>(path, options)) {}
Model::~Model() = default;
Model::Model(Model&&) noexcept = default;
Model& Model::operator=(Model&&) noexcept = default;

const Manifest& Model::manifest() const noexcept {
    return implementation_->bundle.manifest;
}

const GoldenEvents* Model::golden() const noexcept {
    return implementation_->bundle.golden ? &*implementation_->bundle.golden : nullptr;
}

const std::vector<Tensor>& Model::tensors() const noexcept {
    return implementation_->bundle.tensors;
}

const std::vector<Quantity>& Model::quantities() const noexcept {
    return implementation_->quantities.names();
}

std::size_t Model::column(const std::string& quantity) const {
    std::string names;
    for (std::size_t i = 0; i < quantities().size(); ++i) {
        if (quantities()[i].name == quantity) {
            return i;
        }
        names += (names.empty() ? "" : ", ") + quantities()[i].name;
    }
    throw UsageError("the model does not give '" + quantity + "'", {}, "Valid: " + names + ".");
}

const std::string& Model::runtime() const noexcept {
    return implementation_->runtime->description();
}

void Model::run(const RawEvents& events, const std::vector<float*>& out) const {
    implementation_->run(events, out);
}

void Model::evaluate(const RawEvents& events, float* values, std::uint32_t* status) const {
    const Implementation& self = *implementation_;
    const std::size_t batch = std::min(self.options.batch, events.count);
    std::vector<std::vector<float>> tensors;
    std::vector<float*> out;
    for (const Tensor& tensor : self.bundle.tensors) {
        tensors.emplace_back(batch * tensor.width);
        out.push_back(tensors.back().data());
    }
    std::vector<const float*> rows(out.size());
    const std::size_t width = quantities().size();
    for (std::size_t first = 0; first < events.count; first += batch) {
        const std::size_t count = std::min(batch, events.count - first);
        const std::size_t offset = first * kSensors;
        self.run({count, events.npho + offset, events.time + offset,
                  events.dead == nullptr ? nullptr : events.dead + offset},
                 out);
        for (std::size_t event = 0; event < count; ++event) {
            for (std::size_t t = 0; t < rows.size(); ++t) {
                rows[t] = out[t] + event * self.bundle.tensors[t].width;
            }
            float* to = values + (first + event) * width;
            std::uint32_t flags = self.input_status(events, first + event);
            // A finite input can still overflow the network: nothing it was trained on.
            if (!self.quantities.fill(rows, to) && flags == 0) {
                flags = kStatusOutsideTraining;
            }
            if (flags != 0) {
                std::fill(to, to + width, std::numeric_limits<float>::quiet_NaN());
            }
            if (status != nullptr) {
                status[first + event] = flags;
            }
        }
    }
}

bool Model::inpaints() const noexcept {
    return implementation_->inpaints();
}

void Model::inpaint(const float* npho, const float* time, const bool* dead, float* filled) const {
    implementation_->expect_inpainter();
    const std::vector<float*> out(1, filled);
    implementation_->run({1, npho, time, dead}, out);
}

void Model::inpaint(const float* npho, const float* time, const float* mask, float* filled) const {
    std::array<bool, kSensors> dead{};
    std::transform(mask, mask + kSensors, dead.begin(), [](float flag) { return flag != 0; });
    inpaint(npho, time, dead.data(), filled);
}

} // namespace xec
