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

/// Call `work(i, workspace)` for i in [0, count), each part with a copy of `workspace` of its own.
///
/// `work` must not throw; the copies are made before the first call.
template <typename Workspace, typename Work>
void for_each_with(std::size_t count, unsigned threads, const Workspace& workspace,
                   const Work& work) {
    const std::size_t parts = std::clamp<std::size_t>(threads, 1, std::max<std::size_t>(count, 1));
    std::vector<Workspace> workspaces(parts, workspace);
    parallel_for(parts, threads, [&](std::size_t first, std::size_t last) {
        for (std::size_t part = first; part < last; ++part) {
            for (std::size_t i = count * part / parts; i < count * (part + 1) / parts; ++i) {
                work(i, workspaces[part]);
            }
        }
    });
}

} // namespace xec
