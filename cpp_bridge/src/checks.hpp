/// Checks of constants a user gives.
#pragma once

#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <stdexcept>
#include <string>

namespace xec {

/// @throws std::invalid_argument naming the constant that has no number or an infinite one
template <typename Numbers> void expect_finite(const Numbers& numbers, const std::string& name) {
    const bool finite = std::all_of(numbers.begin(), numbers.end(),
                                    [](double number) { return std::isfinite(number); });
    if (numbers.begin() == numbers.end() || !finite) {
        throw std::invalid_argument(name + " has no numbers, or one that is not finite");
    }
}

inline void expect_finite(double number, const std::string& name) {
    expect_finite(std::initializer_list<double>{number}, name);
}

} // namespace xec
