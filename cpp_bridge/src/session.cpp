#include "session.hpp"

#include "xec/error.hpp"

#include <algorithm>

namespace xec {

namespace {

constexpr int kErrorsOnly = 3;

using CountFunction = OrtStatus*(ORT_API_CALL*)(const OrtSession*, std::size_t*);
using NameFunction = OrtStatus*(ORT_API_CALL*)(const OrtSession*, std::size_t, OrtAllocator*,
                                               char**);
using TypeFunction = OrtStatus*(ORT_API_CALL*)(const OrtSession*, std::size_t, OrtTypeInfo**);

/// A string that belongs to ONNX Runtime's allocator.
std::string taken(const Runtime& runtime, OrtAllocator* allocator, char* text) {
    std::string copy = text == nullptr ? "" : text;
    if (text != nullptr) {
        runtime.check(runtime.api().AllocatorFree(allocator, text));
    }
    return copy;
}

std::vector<Port> ports(const Runtime& runtime, const OrtSession* session, CountFunction count,
                        NameFunction name, TypeFunction type) {
    const OrtApi& api = runtime.api();
    std::size_t size = 0;
    runtime.check(count(session, &size));
    OrtAllocator* allocator = nullptr;
    runtime.check(api.GetAllocatorWithDefaultOptions(&allocator));
    std::vector<Port> result(size);
    for (std::size_t i = 0; i < size; ++i) {
        char* text = nullptr;
        runtime.check(name(session, i, allocator, &text));
        result[i].name = taken(runtime, allocator, text);
        OrtTypeInfo* info = nullptr;
        runtime.check(type(session, i, &info));
        const Handle<OrtTypeInfo> owner(info, api.ReleaseTypeInfo);
        const OrtTensorTypeAndShapeInfo* tensor = nullptr;
        runtime.check(api.CastTypeInfoToTensorInfo(info, &tensor));
        if (tensor == nullptr) {
            continue; // a sequence or a map, which no contract has
        }
        runtime.check(api.GetTensorElementType(tensor, &result[i].type));
        std::size_t rank = 0;
        runtime.check(api.GetDimensionsCount(tensor, &rank));
        result[i].shape.resize(rank);
        runtime.check(api.GetDimensions(tensor, result[i].shape.data(), rank));
    }
    return result;
}

Handle<OrtMemoryInfo> cpu_memory(const Runtime& runtime) {
    OrtMemoryInfo* info = nullptr;
    runtime.check(runtime.api().CreateCpuMemoryInfo(OrtDeviceAllocator, OrtMemTypeDefault, &info));
    return {info, runtime.api().ReleaseMemoryInfo};
}

Handle<OrtSession> load(const Runtime& runtime, std::string_view graph, unsigned threads,
                        const std::string& where) {
    const OrtApi& api = runtime.api();
    OrtSessionOptions* made = nullptr;
    runtime.check(api.CreateSessionOptions(&made));
    const Handle<OrtSessionOptions> options(made, api.ReleaseSessionOptions);
    runtime.check(api.SetIntraOpNumThreads(made, static_cast<int>(threads)));
    runtime.check(api.SetInterOpNumThreads(made, 1));
    runtime.check(api.SetSessionLogSeverityLevel(made, kErrorsOnly));
    OrtSession* session = nullptr;
    try {
        runtime.check(api.CreateSessionFromArray(runtime.environment(), graph.data(), graph.size(),
                                                 made, &session));
    } catch (const EngineError& error) {
        throw BundleError(std::string("the graph cannot be loaded (") + error.what() + ")", where);
    }
    return {session, api.ReleaseSession};
}

} // namespace

Session::Session(const Runtime& runtime, std::string_view graph, unsigned threads,
                 const std::string& where)
    : runtime_(&runtime), api_(&runtime.api()), memory_(cpu_memory(runtime)),
      session_(load(runtime, graph, threads, where)) {}

std::string Session::metadata(const std::string& key) const {
    OrtModelMetadata* made = nullptr;
    runtime_->check(api_->SessionGetModelMetadata(session_.get(), &made));
    const Handle<OrtModelMetadata> metadata(made, api_->ReleaseModelMetadata);
    OrtAllocator* allocator = nullptr;
    runtime_->check(api_->GetAllocatorWithDefaultOptions(&allocator));
    char* text = nullptr;
    runtime_->check(
        api_->ModelMetadataLookupCustomMetadataMap(made, allocator, key.c_str(), &text));
    return taken(*runtime_, allocator, text);
}

std::vector<Port> Session::inputs() const {
    return ports(*runtime_, session_.get(), api_->SessionGetInputCount, api_->SessionGetInputName,
                 api_->SessionGetInputTypeInfo);
}

std::vector<Port> Session::outputs() const {
    return ports(*runtime_, session_.get(), api_->SessionGetOutputCount, api_->SessionGetOutputName,
                 api_->SessionGetOutputTypeInfo);
}

Handle<OrtValue> Session::value(const Buffer& buffer, std::size_t events) const {
    const std::array<std::int64_t, 2> shape{static_cast<std::int64_t>(events), buffer.width};
    OrtValue* made = nullptr;
    runtime_->check(api_->CreateTensorWithDataAsOrtValue(
        memory_.get(), buffer.data, buffer.bytes, shape.data(), shape.size(), buffer.type, &made));
    return {made, api_->ReleaseValue};
}

void Session::run(const std::array<Buffer, 3>& inputs, const std::vector<Buffer>& outputs,
                  std::size_t events) const {
    std::vector<Handle<OrtValue>> owners;
    std::vector<const char*> names;
    std::vector<OrtValue*> values;
    const auto add = [&](const Buffer& buffer) {
        owners.push_back(value(buffer, events));
        names.push_back(buffer.name);
        values.push_back(owners.back().get());
    };
    std::for_each(inputs.begin(), inputs.end(), add);
    std::for_each(outputs.begin(), outputs.end(), add);
    runtime_->check(api_->Run(session_.get(), nullptr, names.data(), values.data(), inputs.size(),
                              names.data() + inputs.size(), outputs.size(),
                              values.data() + inputs.size()));
}

} // namespace xec
