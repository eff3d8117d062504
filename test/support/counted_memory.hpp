// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory_resource>
#include <new>

namespace tether_test {

/// Counts the bytes that are not given back, and the most of them so far. Fails where it is told
/// to.
class counted_memory final : public std::pmr::memory_resource {
 public:
  std::size_t now = 0;
  std::size_t most = 0;
  std::uint64_t failing = 0;  ///< which allocation fails, counted from now: 0 none, 1 the next

 private:
  void* do_allocate(std::size_t bytes, std::size_t alignment) override {
    if (failing != 0 && --failing == 0) throw std::bad_alloc{};
    now += bytes;
    most = std::max(most, now);
    return std::pmr::new_delete_resource()->allocate(bytes, alignment);
  }
  void do_deallocate(void* at, std::size_t bytes, std::size_t alignment) override {
    now -= bytes;
    std::pmr::new_delete_resource()->deallocate(at, bytes, alignment);
  }
  [[nodiscard]] bool do_is_equal(std::pmr::memory_resource const& other) const noexcept override {
    return this == &other;
  }
};

}  // namespace tether_test
