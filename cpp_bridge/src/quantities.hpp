/// From the graph's outputs to named numbers, as the result files of `xec-deploy infer` have them.
#pragma once

#include "xec/manifest.hpp"
#include "xec/model.hpp"

#include <cstddef>
#include <vector>

namespace xec {

class Quantities {
  public:
    Quantities(const Manifest& manifest, const std::vector<Tensor>& tensors);

    [[nodiscard]] const std::vector<Quantity>& names() const noexcept { return names_; }

    /// Fill the named values of one event from its row of each tensor.
    ///
    /// @returns whether all are finite
    bool fill(const std::vector<const float*>& rows, float* values) const;

  private:
    /// A column of a tensor, or an axis of the position it holds.
    struct Source {
        std::size_t tensor = 0;
        std::size_t column = 0;
        bool cartesian = false;
    };
    struct Entry {
        Quantity quantity;
        Source source;
    };

    static void append(const Manifest& manifest, const Tensor& tensor, std::size_t index,
                       std::vector<Entry>& values, std::vector<Entry>& sigmas);

    std::vector<Quantity> names_;
    std::vector<Source> sources_;
};

} // namespace xec
