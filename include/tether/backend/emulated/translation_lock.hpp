// SPDX-License-Identifier: BSL-1.0
// A reader-writer lock that prefers the writer: translations run concurrently, and none while the
// table changes. With glibc's, which prefers readers, a busy device can starve an unmap for ever.
#pragma once

#include <tether/version.hpp>

#include <atomic>
#include <cstdint>
#include <mutex>

namespace tether::detail {

/// A shared mutex that prefers exclusive lockers. Its members have the standard's names.
/// Cost: a translation pays two atomic additions; a change waits for the translations in flight.
class translation_lock {
 public:
  void lock_shared() noexcept {
    std::uint32_t seen = state_.load(std::memory_order_relaxed);
    for (;;) {
      if ((seen & changing) != 0) {
        state_.wait(seen, std::memory_order_relaxed);
        seen = state_.load(std::memory_order_relaxed);
      } else if (state_.compare_exchange_weak(seen, seen + 1, std::memory_order_acquire,
                                              std::memory_order_relaxed)) {
        return;
      }
    }
  }
  void unlock_shared() noexcept {
    if (state_.fetch_sub(1, std::memory_order_release) == (changing | 1)) state_.notify_all();
  }

  void lock() noexcept {
    changes_.lock();
    std::uint32_t seen = state_.fetch_or(changing, std::memory_order_acquire) | changing;
    while (seen != changing) {
      state_.wait(seen, std::memory_order_relaxed);
      seen = state_.load(std::memory_order_acquire);
    }
  }
  void unlock() noexcept {
    state_.store(0, std::memory_order_release);
    state_.notify_all();
    changes_.unlock();
  }

 private:
  /// Set while a change waits or runs; the bits below it count translations.
  static constexpr std::uint32_t changing = std::uint32_t{1} << 31;

  std::mutex changes_;
  std::atomic<std::uint32_t> state_{0};
};

}  // namespace tether::detail
