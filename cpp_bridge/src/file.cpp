#include "file.hpp"

#include "xec/error.hpp"

#include <cerrno>
#include <fstream>
#include <ios>
#include <system_error>

namespace xec {

std::string read_file(const std::filesystem::path& path) {
    std::ifstream stream(path, std::ios::binary | std::ios::ate);
    if (!stream) {
        throw BundleError("cannot be read (" + std::generic_category().message(errno) + ")",
                          path.string());
    }
    std::string bytes(static_cast<std::size_t>(std::max<std::streamoff>(stream.tellg(), 0)), '\0');
    stream.seekg(0);
    if (!stream.read(bytes.data(), static_cast<std::streamsize>(bytes.size()))) {
        throw BundleError("cannot be read to its end", path.string());
    }
    return bytes;
}

} // namespace xec
