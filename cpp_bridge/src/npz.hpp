/// Arrays of an uncompressed NumPy `.npz` file, as `numpy.savez` writes it.
#pragma once

#include <cstddef>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace xec {

/// One array, C order, little endian, where it lies in the file's bytes.
struct NpyArray {
    /// NumPy's name of the element type, such as `<f4`.
    std::string type;
    std::vector<std::size_t> shape;
    std::string_view data;
};

/// The arrays of a file by name.
///
/// @param bytes  the file; must outlive the result
/// @param where  the file's name, for errors
/// @throws BundleError if the file is damaged or compressed
[[nodiscard]] std::map<std::string, NpyArray> parse_npz(std::string_view bytes,
                                                        const std::string& where);

} // namespace xec
