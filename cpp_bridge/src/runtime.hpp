/// ONNX Runtime, found when the program runs; nothing of it is linked.
///
/// Its C interface, not the C++ one: that keeps its function table in a global variable, which a
/// program that uses another ONNX Runtime as well would share with us.
#pragma once

#include <filesystem>
#include <memory>
#include <onnxruntime_c_api.h>
#include <string>

namespace xec {

/// The loaded library. Lives until the program ends: its threads cannot be unloaded.
class Runtime {
  public:
    /// Find and load the library, once for each path.
    ///
    /// @param given  library or its folder; empty to look for it
    /// @throws EngineError naming the places
    static const Runtime& load(const std::filesystem::path& given);

    Runtime(const std::filesystem::path& path, const OrtApiBase& base);

    [[nodiscard]] const OrtApi& api() const noexcept { return *api_; }
    [[nodiscard]] OrtEnv* environment() const noexcept { return environment_; }
    /// Version and path.
    [[nodiscard]] const std::string& description() const noexcept { return description_; }

    /// @throws EngineError with ONNX Runtime's own message
    void check(OrtStatus* status) const;

  private:
    std::string description_;
    const OrtApi* api_ = nullptr;
    OrtEnv* environment_ = nullptr;
};

/// An object of ONNX Runtime with the function that releases it.
template <typename T> using Handle = std::unique_ptr<T, void(ORT_API_CALL*)(T*)>;

} // namespace xec
