#include "runtime.hpp"

#include "xec/error.hpp"

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <dlfcn.h>
#include <map>
#include <mutex>
#include <string_view>
#include <system_error>
#include <vector>

namespace xec {

namespace {

namespace fs = std::filesystem;

/// The first that reads the graphs of `xec-deploy export` (IR 10); the functions used are older.
constexpr std::uint32_t kOldestApi = 18;
constexpr const char* kVariable = "XEC_ONNXRUNTIME";
constexpr std::string_view kLibrary = "libonnxruntime.so";
constexpr const char* kRemedy =
    "Install it (pip install onnxruntime, or the system's libonnxruntime), or name the library or "
    "its folder in the environment variable XEC_ONNXRUNTIME or in ModelOptions::runtime.";

std::string variable(const char* name) {
    const char* value = std::getenv(name); // NOLINT(concurrency-mt-unsafe): nobody sets it
    return value == nullptr ? "" : value;
}

/// The newest library in a folder, or an empty path.
fs::path in_folder(const fs::path& folder) {
    fs::path best;
    std::error_code error;
    for (const auto& entry : fs::directory_iterator(folder, error)) {
        const std::string name = entry.path().filename().string();
        if (name.compare(0, kLibrary.size(), kLibrary) == 0 && entry.path() > best) {
            best = entry.path();
        }
    }
    return best;
}

/// Folders of `onnxruntime` wheels in the active Python environment.
std::vector<fs::path> wheel_folders() {
    std::vector<fs::path> folders;
    for (const char* name : {"VIRTUAL_ENV", "CONDA_PREFIX"}) {
        const std::string prefix = variable(name);
        if (prefix.empty()) {
            continue;
        }
        std::error_code error;
        for (const auto& entry : fs::directory_iterator(fs::path(prefix) / "lib", error)) {
            folders.push_back(entry.path() / "site-packages" / "onnxruntime" / "capi");
        }
    }
    std::sort(folders.begin(), folders.end());
    return folders;
}

const OrtApiBase* open(const std::string& library, std::string& error) {
    void* handle = dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (handle == nullptr) {
        const char* message = dlerror(); // NOLINT(concurrency-mt-unsafe): glibc's is per thread
        error = message == nullptr ? "cannot be loaded" : message;
        return nullptr;
    }
    using GetBase = const OrtApiBase*(ORT_API_CALL*)();
    // NOLINTNEXTLINE(*-reinterpret-cast): POSIX gives functions as void*
    const auto get = reinterpret_cast<GetBase>(dlsym(handle, "OrtGetApiBase"));
    if (get == nullptr) {
        error = "it has no OrtGetApiBase: not ONNX Runtime";
        return nullptr;
    }
    return get();
}

struct Found {
    fs::path path;
    const OrtApiBase* base = nullptr;
};

Found open_given(const fs::path& given, const std::string& who) {
    const fs::path library = fs::is_directory(given) ? in_folder(given) : given;
    if (library.empty()) {
        throw EngineError("this folder has no " + std::string(kLibrary), given.string(),
                          "It was named by " + who + ".");
    }
    std::string error;
    const OrtApiBase* base = open(library.string(), error);
    if (base == nullptr) {
        throw EngineError("ONNX Runtime, named by " + who + ", cannot be loaded (" + error + ")",
                          library.string());
    }
    return {library, base};
}

Found search() {
    std::string error;
    // By name: a library the program has loaded already, or one the system's loader finds.
    for (const char* name : {"libonnxruntime.so.1", "libonnxruntime.so"}) {
        if (const OrtApiBase* base = open(name, error)) {
            return {name, base};
        }
    }
    std::vector<fs::path> folders = wheel_folders();
    // Debian's library has its full version in its name.
    folders.insert(folders.end(), {"/usr/local/lib", "/usr/lib/x86_64-linux-gnu",
                                   "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/lib"});
    std::string places;
    for (const fs::path& folder : folders) {
        if (const fs::path library = in_folder(folder); !library.empty()) {
            if (const OrtApiBase* base = open(library.string(), error)) {
                return {library, base};
            }
        }
        places += (places.empty() ? "" : ", ") + folder.string();
    }
    throw EngineError("ONNX Runtime (" + std::string(kLibrary) +
                          ") is not here: not known to the loader, nor in " + places,
                      {}, kRemedy);
}

} // namespace

const Runtime& Runtime::load(const std::filesystem::path& given) {
    static std::mutex mutex;
    static auto& loaded = *new std::map<fs::path, Runtime>; // NOLINT(*-owning-memory): see class
    const fs::path named = given.empty() ? fs::path(variable(kVariable)) : given;
    const std::scoped_lock lock(mutex);
    if (const auto found = loaded.find(named); found != loaded.end()) {
        return found->second;
    }
    const Found found =
        named.empty()
            ? search()
            : open_given(named, given.empty() ? std::string("the environment variable ") + kVariable
                                              : "the caller");
    return loaded.try_emplace(named, found.path, *found.base).first->second;
}

Runtime::Runtime(const std::filesystem::path& path, const OrtApiBase& base)
    : description_(std::string("ONNX Runtime ") + base.GetVersionString() + " (" + path.string() +
                   ")"),
      api_(base.GetApi(kOldestApi)) {
    if (api_ == nullptr) {
        throw EngineError(description_ + " is too old", {},
                          "Use 1." + std::to_string(kOldestApi) + " or newer.");
    }
    check(api_->CreateEnv(ORT_LOGGING_LEVEL_ERROR, "xec", &environment_));
}

void Runtime::check(OrtStatus* status) const {
    if (status == nullptr) {
        return;
    }
    const Handle<OrtStatus> owner(status, api_->ReleaseStatus);
    std::string message = api_->GetErrorMessage(status);
    std::replace(message.begin(), message.end(), '\n', ' ');
    message.erase(message.find_last_not_of(' ') + 1);
    throw EngineError("ONNX Runtime says: " + message);
}

} // namespace xec
