// SPDX-License-Identifier: BSL-1.0
// Which slots of a fixed-buffer table belong to one mapping. The kernel takes at most 1 GiB in a
// slot, so a larger mapping takes several; they need not be adjacent: a linked list of indices.
#pragma once

#include <tether/core/detail/exceptions.hpp>
#include <tether/version.hpp>

#include <cstddef>
#include <cstdint>
#include <new>
#include <vector>

namespace tether::detail {

/// A list of slots, owned by the caller of `allocate`.
struct slot_chain {
  std::uint32_t head = 0;
};

/// The slots, free and taken, and how many bytes each pins now. Cost: `allocate` and `free`
/// allocate nothing.
class slot_chains {
 public:
  static constexpr std::uint32_t end = 0xffff'ffff;

  /// Makes `count` free slots. Fails (false): not enough memory.
  [[nodiscard]] bool make(std::uint32_t count) noexcept {
    TETHER_TRY {
      next_.resize(count);
      pinned_.resize(count, 0);
    }
    TETHER_CATCH(std::bad_alloc const&) { return false; }
    for (std::uint32_t slot = 0; slot < count; ++slot)
      next_[slot] = slot + 1 < count ? slot + 1 : end;
    free_head_ = count == 0 ? end : 0;
    free_ = count;
    return true;
  }

  /// How many slots are free.
  [[nodiscard]] std::uint32_t free() const noexcept { return free_; }
  [[nodiscard]] std::uint32_t next(std::uint32_t slot) const noexcept { return next_[slot]; }
  /// The `n`-th slot of a chain, counted from 0.
  [[nodiscard]] std::uint32_t nth(slot_chain chain, std::uint64_t n) const noexcept {
    std::uint32_t slot = chain.head;
    for (; n != 0; --n) slot = next_[slot];
    return slot;
  }

  /// A chain of `count` slots. Requires: 0 < count <= `free()`.
  [[nodiscard]] slot_chain allocate(std::uint32_t count) noexcept {
    const slot_chain taken{free_head_};
    const std::uint32_t last = nth(taken, count - 1);
    free_head_ = next_[last];
    next_[last] = end;
    free_ -= count;
    return taken;
  }
  /// Returns the slots of a chain. Requires: none of them pins anything.
  void free(slot_chain chain) noexcept {
    std::uint32_t last = chain.head;
    std::uint32_t count = 1;
    for (; next_[last] != end; last = next_[last]) ++count;
    next_[last] = free_head_;
    free_head_ = chain.head;
    free_ += count;
  }

  /// Notes what `slot` pins now. Units: bytes, 0 for none.
  void set_pinned(std::uint32_t slot, std::uint64_t bytes) noexcept {
    total_ += bytes - pinned_[slot];
    pinned_[slot] = static_cast<std::uint32_t>(bytes);
  }
  [[nodiscard]] std::uint64_t pinned(std::uint32_t slot) const noexcept { return pinned_[slot]; }
  /// What all slots pin together. Units: bytes.
  [[nodiscard]] std::uint64_t pinned() const noexcept { return total_; }

 private:
  std::vector<std::uint32_t> next_;
  std::vector<std::uint32_t> pinned_;
  std::uint32_t free_head_ = end;
  std::uint32_t free_ = 0;
  std::uint64_t total_ = 0;
};

}  // namespace tether::detail
