// SPDX-License-Identifier: BSL-1.0
// Which gate guards a block of memory, and how many times: one atomic word, so that of two gates
// that compete the second is refused.
//
//     gate (32 bits) | how often (32 bits)      0 times: unguarded
#pragma once

#include <tether/core/discard_permit.hpp>

#include <atomic>
#include <cstdint>

namespace tether::detail {

/// The advice for `other_gate`.
inline constexpr auto one_gate =
    "give every container and every balloon of a guest the same discard_gate";

/// The gate of one memory. Thread-safe.
class memory_guard {
 public:
  memory_guard() noexcept = default;
  memory_guard(memory_guard const&) = delete;
  memory_guard& operator=(memory_guard const&) = delete;

  /// Guarded by `gate` until `unguard` was called as often. Fails (false): another gate guards it.
  [[nodiscard]] bool guard(gate_id gate) noexcept {
    std::uint64_t seen = word_.load(std::memory_order_relaxed);
    do {
      if (times(seen) != 0 && owner(seen) != gate) return false;
    } while (!word_.compare_exchange_weak(
        seen, static_cast<std::uint64_t>(gate) << 32U | (times(seen) + 1),
        std::memory_order_acq_rel, std::memory_order_relaxed));
    return true;
  }
  /// Requires: an earlier `guard` that succeeded.
  void unguard() noexcept { word_.fetch_sub(1, std::memory_order_release); }

  /// Guards for the length of a discard: meanwhile another gate's containers, which would not wait
  /// for this permit, cannot begin to pin.
  class scoped_guard {
   public:
    scoped_guard(memory_guard& of, gate_id gate) noexcept : of_{of}, guarded_{of.guard(gate)} {}
    scoped_guard(scoped_guard const&) = delete;
    scoped_guard& operator=(scoped_guard const&) = delete;
    ~scoped_guard() {
      if (guarded_) of_.unguard();
    }
    [[nodiscard]] explicit operator bool() const& noexcept { return guarded_; }

   private:
    memory_guard& of_;
    bool guarded_;
  };

 private:
  static constexpr std::uint64_t times(std::uint64_t word) noexcept { return word & 0xffff'ffffU; }
  static constexpr gate_id owner(std::uint64_t word) noexcept {
    return gate_id{static_cast<std::uint32_t>(word >> 32U)};
  }

  std::atomic<std::uint64_t> word_{0};
};

}  // namespace tether::detail
