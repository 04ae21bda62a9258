/// Plain threads over a range; enough for loops whose iterations are alike and independent.
#pragma once

#include <algorithm>
#include <cstddef>
#include <system_error>
#include <thread>
#include <vector>

namespace xec {

/// Call `work(begin, end)` on contiguous parts of [0, count), the last in the calling thread.
///
/// `work` must not throw. With one thread nothing is allocated.
template <typename Work> void parallel_for(std::size_t count, unsigned threads, const Work& work) {
    const std::size_t parts = std::clamp<std::size_t>(threads, 1, std::max<std::size_t>(count, 1));
    std::vector<std::thread> others;
    if (parts > 1) {
        others.reserve(parts - 1);
    }
    for (std::size_t part = 0; part + 1 < parts; ++part) {
        const std::size_t begin = count * part / parts;
        const std::size_t end = count * (part + 1) / parts;
        try {
            others.emplace_back(work, begin, end);
        } catch (const std::system_error&) {
            work(begin, end); // the system has no thread left: slower, not wrong
        }
    }
    work(count * (parts - 1) / parts, count);
    for (auto& thread : others) {
        thread.join();
    }
}

} // namespace xec
