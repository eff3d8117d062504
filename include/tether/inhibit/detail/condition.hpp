// SPDX-License-Identifier: BSL-1.0
// What a hold sleeps on: as much of std::condition_variable_any as the gate needs, without the cost
// of including that. A counter of notifications; who sleeps has read it before it looked, and the
// kernel lets nobody sleep who has read an old value, so no notification is lost.
//
//     waits:      read the counter -> look -> unlock -> sleep while it is what was read -> lock
//     notifies:                 change what is looked at -> count -> wake all
#pragma once

#include <tether/version.hpp>

#include <atomic>
#include <cstdint>
#include <ctime>
#include <limits>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace tether::detail {

/// core/stop_token.hpp has it for `std::stop_token`.
template <class StopToken>
struct stop_callbacks;

/// A condition variable for any lock. Spurious wakeups are looked through.
class condition {
 public:
  condition() noexcept = default;
  condition(condition const&) = delete;
  condition& operator=(condition const&) = delete;
  ~condition() = default;

  /// Wakes all who wait. What they look at is changed before.
  void notify_all() noexcept {
    notifications_.fetch_add(1, std::memory_order_seq_cst);
    static_cast<void>(::syscall(SYS_futex, &notifications_, FUTEX_WAKE_PRIVATE,
                                std::numeric_limits<int>::max(), nullptr, nullptr, 0));
  }

  /// Waits until `holds()`, which is called with `lock` held. Requires: it is held.
  template <class Lock, class Predicate>
  void wait(Lock& lock, Predicate holds) noexcept {
    for (;;) {
      const std::uint32_t seen = read();
      if (holds()) return;
      sleep(lock, seen, nullptr);
    }
  }
  /// The same, or until `stop` is requested. Returns whether it holds.
  template <class Lock, class StopToken, class Predicate>
  [[nodiscard]] bool wait(Lock& lock, StopToken const& stop, Predicate holds) noexcept {
    const auto notify = [this]() noexcept { notify_all(); };
    const typename stop_callbacks<StopToken>::template type<decltype(notify)> on_request{stop,
                                                                                         notify};
    for (;;) {
      const std::uint32_t seen = read();
      if (stop.stop_requested() || holds()) return holds();
      sleep(lock, seen, nullptr);
    }
  }
  /// The same, or until `until`, a time of any clock. Returns whether it holds.
  template <class Lock, class TimePoint, class Predicate>
  [[nodiscard]] bool wait_until(Lock& lock, TimePoint until, Predicate holds) noexcept {
    for (;;) {
      const std::uint32_t seen = read();
      if (holds()) return true;
      const auto now = TimePoint::clock::now();
      if (now >= until) return false;
      const std::timespec left = in_seconds(until - now);
      sleep(lock, seen, &left);
    }
  }

 private:
  [[nodiscard]] std::uint32_t read() const noexcept {
    return notifications_.load(std::memory_order_seq_cst);
  }

  /// Sleeps, at most for `longest`, while there is no notification but those `seen`. May return
  /// early.
  template <class Lock>
  void sleep(Lock& lock, std::uint32_t seen, std::timespec const* longest) noexcept {
    static_assert(sizeof(notifications_) == sizeof(std::uint32_t) &&
                  std::atomic<std::uint32_t>::is_always_lock_free);
    lock.unlock();
    static_cast<void>(
        ::syscall(SYS_futex, &notifications_, FUTEX_WAIT_PRIVATE, seen, longest, nullptr, 0));
    lock.lock();
  }

  template <class Duration>
  static std::timespec in_seconds(Duration time) noexcept {
    using period = typename Duration::period;
    static_assert(period::num == 1 && 1'000'000'000 % period::den == 0);
    return {
        .tv_sec = static_cast<std::time_t>(time.count() / period::den),
        .tv_nsec = static_cast<long>(time.count() % period::den * (1'000'000'000 / period::den))};
  }

  std::atomic<std::uint32_t> notifications_{0};
};

}  // namespace tether::detail
