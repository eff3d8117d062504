// SPDX-License-Identifier: BSL-1.0
// A slot for each thread, a cache line apart.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>

namespace permit {

class own_slots {
 public:
  [[nodiscard]] std::atomic<int>& mine() noexcept {
    if (number_ == none) [[unlikely]]
      number_ = threads_.fetch_add(1) % most;
    return slots_[number_].in;
  }

 private:
  struct alignas(128) slot {
    std::atomic<int> in{0};
  };
  static constexpr std::size_t most = 64;
  inline static std::atomic<std::size_t> threads_{0};
  static constexpr std::size_t none = ~std::size_t{0};
  inline static constinit thread_local std::size_t number_ = none;
  std::array<slot, most> slots_{};
};

}  // namespace permit
