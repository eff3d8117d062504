// SPDX-License-Identifier: BSL-1.0
// The loop around a backend and a way of cutting that are chosen at run time, whatever by.
#pragma once

#include <overhead/overhead.hpp>

#include <cstdint>
#include <mutex>

namespace overhead {

/// The bytes up to the next border between blocks, or to the end.
[[nodiscard]] inline std::uint64_t first_piece(std::uint64_t offset, std::uint64_t left) {
  const std::uint64_t to_border = block - offset % block;
  return left < to_border ? left : to_border;
}

/// `Choice`: `first_piece(offset, left)`, `map(iova, size, host, rights)`, `unmap(iova, size)`.
template <class Choice>
struct chosen_path {
  [[gnu::noinline]] bool map(tether::detail::section_plan const& plan) {
    const std::lock_guard turn{mutex};
    auto const& all = plan.fit.inside;
    std::uint64_t done = 0;
    for (const std::uint64_t size = all.where.size(); done != size;) {
      const std::uint64_t bytes = choice.first_piece(plan.offset.value + done, size - done);
      if (choice.map(all.where.first.value + done, bytes, all.host.value + done,
                     static_cast<unsigned>(all.rights)) != 0)
        return false;
      done += bytes;
    }
    mapped += done;
    return true;
  }
  [[gnu::noinline]] bool unmap(tether::detail::section_plan const& plan) {
    const std::lock_guard turn{mutex};
    mapped -= plan.fit.inside.where.size();
    return choice.unmap(plan.fit.inside.where.first.value, plan.fit.inside.where.size()) == 0;
  }
  std::mutex mutex{};
  Choice choice{};
  std::uint64_t mapped = 0;
};

}  // namespace overhead
