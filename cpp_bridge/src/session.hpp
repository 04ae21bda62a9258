/// A graph loaded in ONNX Runtime.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "runtime.hpp"

namespace xec {

/// An input or output of a graph.
struct Port {
    std::string name;
    ONNXTensorElementDataType type = ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED;
    /// Negative where it is not fixed.
    std::vector<std::int64_t> shape;
};

/// One tensor in the caller's memory.
struct Buffer {
    const char* name;
    ONNXTensorElementDataType type;
    void* data;
    std::size_t bytes;
    std::int64_t width;
};

class Session {
  public:
    /// @param graph  the bytes of an ONNX file
    /// @param where  the file's name, for errors
    /// @throws BundleError if ONNX Runtime cannot load it
    Session(const Runtime& runtime, std::string_view graph, unsigned threads,
            const std::string& where);

    /// Value of a metadata key, empty if there is none.
    [[nodiscard]] std::string metadata(const std::string& key) const;
    [[nodiscard]] std::vector<Port> inputs() const;
    [[nodiscard]] std::vector<Port> outputs() const;

    /// Run `events` events; any number of threads may do so at once.
    ///
    /// @throws EngineError
    void run(const std::array<Buffer, 3>& inputs, const std::vector<Buffer>& outputs,
             std::size_t events) const;

  private:
    [[nodiscard]] Handle<OrtValue> value(const Buffer& buffer, std::size_t events) const;

    const Runtime* runtime_;
    const OrtApi* api_;
    Handle<OrtMemoryInfo> memory_;
    Handle<OrtSession> session_;
};

} // namespace xec
