#include "npz.hpp"

#include "xec/error.hpp"

#include <algorithm>
#include <cstdint>
#include <utility>

namespace xec {

namespace {

// PKWARE's APPNOTE.TXT, 4.3: the end record points at the central directory, whose entries point
// at local headers, each followed by its data.
constexpr std::string_view kEndSignature{"PK\5\6", 4};
constexpr std::string_view kEntrySignature{"PK\1\2", 4};
constexpr std::string_view kLocalSignature{"PK\3\4", 4};
constexpr std::size_t kEndBytes = 22;
constexpr std::size_t kEntryBytes = 46;
constexpr std::size_t kLocalBytes = 30;
constexpr std::string_view kNpyMagic{"\x93NUMPY", 6};
constexpr std::string_view kNpySuffix = ".npy";
/// Beyond any axis in a file whose sizes are 32 bits.
constexpr std::size_t kLongest = std::size_t{1} << 33U;

class Reader {
  public:
    Reader(std::string_view bytes, std::string where) : bytes_(bytes), where_(std::move(where)) {}

    [[noreturn]] void damaged(const std::string& what) const {
        throw BundleError("golden events cannot be read (" + what + ")", where_);
    }

    [[nodiscard]] std::string_view slice(std::size_t from, std::size_t size) const {
        if (from > bytes_.size() || size > bytes_.size() - from) {
            damaged("the file ends early");
        }
        return bytes_.substr(from, size);
    }

    [[nodiscard]] std::size_t number(std::size_t at, std::size_t bytes) const {
        const std::string_view digits = slice(at, bytes);
        std::size_t value = 0;
        for (std::size_t i = bytes; i > 0; --i) {
            value = (value << 8U) | static_cast<unsigned char>(digits[i - 1]);
        }
        return value;
    }

    void expect(std::size_t at, std::string_view signature) const {
        if (slice(at, signature.size()) != signature) {
            damaged("not an .npz file");
        }
    }

    [[nodiscard]] std::size_t end_record() const {
        const std::size_t at = bytes_.rfind(kEndSignature);
        if (at == std::string_view::npos) {
            damaged("not an .npz file");
        }
        static_cast<void>(slice(at, kEndBytes));
        return at;
    }

  private:
    std::string_view bytes_;
    std::string where_;
};

std::size_t element_bytes(const std::string& type, const Reader& reader) {
    if (type == "|u1") {
        return 1;
    }
    if (type == "<f4") {
        return 4;
    }
    if (type == "<f8") {
        return 8;
    }
    reader.damaged("an array of type " + type);
}

std::string_view between(std::string_view text, std::string_view before, std::string_view after,
                         const Reader& reader) {
    const std::size_t start = text.find(before);
    const std::size_t end =
        start == std::string_view::npos ? start : text.find(after, start + before.size());
    if (end == std::string_view::npos) {
        reader.damaged("an array with a header that is not understood");
    }
    return text.substr(start + before.size(), end - start - before.size());
}

/// The numbers of a tuple such as `32, 4760`.
std::vector<std::size_t> lengths(std::string_view tuple) {
    std::vector<std::size_t> values;
    bool inside = false;
    for (const char c : tuple) {
        const bool digit = c >= '0' && c <= '9';
        if (digit && !inside) {
            values.push_back(0);
        }
        if (digit) {
            // What no file can hold stops growing before it overflows.
            values.back() = std::min<std::size_t>(
                10 * values.back() + static_cast<std::size_t>(c - '0'), kLongest);
        }
        inside = digit;
    }
    return values;
}

NpyArray parse_npy(std::string_view npy, const Reader& reader) {
    const Reader inner(npy, {});
    if (npy.size() < 10 || npy.substr(0, kNpyMagic.size()) != kNpyMagic) {
        reader.damaged("not an .npy array");
    }
    const std::size_t length_bytes = npy[6] == 1 ? 2 : 4;
    if (npy.size() < 8 + length_bytes) {
        reader.damaged("an array ends early");
    }
    const std::size_t header_bytes = inner.number(8, length_bytes);
    const std::size_t start = 8 + length_bytes + header_bytes;
    if (start > npy.size()) {
        reader.damaged("an array ends early");
    }
    const std::string_view header = npy.substr(8 + length_bytes, header_bytes);
    // A Python literal: {'descr': '<f4', 'fortran_order': False, 'shape': (32, 4760), }
    if (header.find("'fortran_order': False") == std::string_view::npos) {
        reader.damaged("an array that is not in C order");
    }
    NpyArray array{std::string(between(header, "'descr': '", "'", reader)),
                   lengths(between(header, "'shape': (", ")", reader)), npy.substr(start)};
    std::size_t bytes = element_bytes(array.type, reader);
    for (const std::size_t length : array.shape) {
        if (length > array.data.size()) {
            reader.damaged("an array ends early");
        }
        bytes *= length;
    }
    if (array.shape.size() > 2 || bytes != array.data.size()) {
        reader.damaged("an array ends early");
    }
    return array;
}

} // namespace

std::map<std::string, NpyArray> parse_npz(std::string_view bytes, const std::string& where) {
    const Reader reader(bytes, where);
    const std::size_t end = reader.end_record();
    const std::size_t count = reader.number(end + 10, 2);
    std::size_t entry = reader.number(end + 16, 4);
    std::map<std::string, NpyArray> arrays;
    for (std::size_t i = 0; i < count; ++i) {
        reader.expect(entry, kEntrySignature);
        const std::size_t method = reader.number(entry + 10, 2);
        const std::size_t size = reader.number(entry + 20, 4);
        const std::size_t name_bytes = reader.number(entry + 28, 2);
        const std::size_t extra_bytes = reader.number(entry + 30, 2);
        const std::size_t comment_bytes = reader.number(entry + 32, 2);
        const std::size_t local = reader.number(entry + 42, 4);
        std::string name(reader.slice(entry + kEntryBytes, name_bytes));
        entry += kEntryBytes + name_bytes + extra_bytes + comment_bytes;
        if (method != 0) {
            throw BundleError("golden events are compressed, which is not read here", where,
                              "Export the bundle again.");
        }
        if (name.size() <= kNpySuffix.size() ||
            name.substr(name.size() - kNpySuffix.size()) != kNpySuffix) {
            reader.damaged("an entry '" + name + "' that is no array");
        }
        reader.expect(local, kLocalSignature);
        const std::size_t data =
            local + kLocalBytes + reader.number(local + 26, 2) + reader.number(local + 28, 2);
        name.resize(name.size() - kNpySuffix.size());
        arrays.emplace(name, parse_npy(reader.slice(data, size), reader));
    }
    return arrays;
}

} // namespace xec
