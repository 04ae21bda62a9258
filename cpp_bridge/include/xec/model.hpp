/// A deployed network: raw channels of events in, physical quantities out.
#pragma once

#include "xec/geometry.hpp"
#include "xec/golden.hpp"
#include "xec/manifest.hpp"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

namespace xec {

/// Why a result is not a number: the status bits of `xec-deploy infer`; 0 is a plain result.
inline constexpr std::uint32_t kStatusTooManyDead = 2;
inline constexpr std::uint32_t kStatusNoValidInput = 4;
inline constexpr std::uint32_t kStatusOutsideTraining = 8;

struct ModelOptions {
    /// Which graph of the bundle.
    std::string precision = "fp32";
    /// Threads ONNX Runtime uses inside one call.
    unsigned threads = 1;
    /// Events given to the engine at once; small batches stay in the cache.
    std::size_t batch = 16;
    /// ONNX Runtime's library, or its folder; empty to look for it, see `docs/cpp.md`.
    std::filesystem::path runtime;
};

/// Raw events where they lie in memory, row-major.
struct RawEvents {
    std::size_t count = 0;
    /// (count, 4760) photons, as measured.
    const float* npho = nullptr;
    /// (count, 4760) seconds.
    const float* time = nullptr;
    /// (count, 4760), true for a dead channel; null for none. What the other two hold there does
    /// not matter.
    const bool* dead = nullptr;
};

/// One output of the graph.
struct Tensor {
    std::string name;
    std::size_t width = 0;
};

/// One named number of an event.
struct Quantity {
    std::string name;
    /// Empty for a pure number.
    std::string unit;
};

/// An opened and verified bundle, or a lone ONNX file; any number of threads may share one.
class Model {
  public:
    /// Open a bundle: its hashes must be those of its manifest, the manifest that inside the
    /// graph, and four golden events must come out of the engine as they should.
    ///
    /// @param path  folder `NAME.xec`, or an ONNX file written by `xec-deploy export`, which has
    ///              neither hashes nor golden events
    /// @throws BundleError, CheckFailed, EngineError, UsageError
    explicit Model(const std::filesystem::path& path, const ModelOptions& options = {});
    ~Model();
    Model(Model&&) noexcept;
    Model& operator=(Model&&) noexcept;
    Model(const Model&) = delete;
    Model& operator=(const Model&) = delete;

    [[nodiscard]] const Manifest& manifest() const noexcept;
    /// The bundle's golden events; null for a lone ONNX file.
    [[nodiscard]] const GoldenEvents* golden() const noexcept;
    /// The graph's outputs.
    [[nodiscard]] const std::vector<Tensor>& tensors() const noexcept;
    /// What `evaluate` returns, named, with units, in order; as in the result files of `infer`.
    /// Empty for a model that fills channels.
    [[nodiscard]] const std::vector<Quantity>& quantities() const noexcept;
    /// Column of a quantity in `quantities()`.
    ///
    /// @throws UsageError listing the names
    [[nodiscard]] std::size_t column(const std::string& quantity) const;
    /// Version and path of ONNX Runtime.
    [[nodiscard]] const std::string& runtime() const noexcept;

    /// The graph's outputs as they are.
    ///
    /// @param out  one array (count, width) for each of `tensors()`
    void run(const RawEvents& events, const std::vector<float*>& out) const;

    /// Physical quantities, NaN where the status is not 0.
    ///
    /// @param values  (count, quantities().size())
    /// @param status  (count) status bits, or null
    void evaluate(const RawEvents& events, float* values, std::uint32_t* status = nullptr) const;

    /// Whether the model fills dead channels, so that `inpaint` may be called.
    [[nodiscard]] bool inpaints() const noexcept;

    /// Photon counts of one event with its dead channels filled; live ones unchanged.
    ///
    /// @param npho,time  (4760) photons and seconds
    /// @param dead       (4760)
    /// @param filled     (4760)
    /// @throws UsageError if the model does not inpaint
    void inpaint(const float* npho, const float* time, const bool* dead, float* filled) const;

    /// The same with a mask of numbers, not 0 for a dead channel.
    void inpaint(const float* npho, const float* time, const float* mask, float* filled) const;

  private:
    struct Implementation;
    std::unique_ptr<Implementation> implementation_;
};

} // namespace xec
