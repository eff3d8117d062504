// SPDX-License-Identifier: BSL-1.0
// Linux frees a closed io_uring on a thread of its own, and until then the ring's memory, and the
// pages that were pinned through it, count against the user's locked-memory limit. So a ring that
// is opened, or memory that is pinned, soon after a close may be refused for a limit that is not
// reached: then it is tried again, for as long as a teardown of ours can be the cause.
#pragma once

#include <tether/core/kernel.hpp>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <thread>

namespace tether::detail {

/// Which rings of this process, opened through `Kernel`, the kernel may still be freeing.
/// Thread-safe.
template <class Kernel>
class ring_teardown {
 public:
  /// How long after a close the kernel is taken to be freeing the ring still: a bound of our own.
  static constexpr std::chrono::milliseconds longest{2000};

  /// Notes that a ring is being closed.
  static void begins() noexcept { until_.store(now() + ticks(longest)); }

  /// What `attempt` answers; it is repeated while it is -ENOMEM by `errno_of` and a ring that was
  /// closed before may be the cause. Cost: waits `longest` after the last close at most.
  template <class Attempt, class Errno>
  [[nodiscard]] static auto retried(Attempt attempt, Errno errno_of) noexcept {
    // Read once: an attempt that fails half way closes a ring of its own.
    const std::int64_t until = until_.load();
    using std::chrono::milliseconds;
    for (milliseconds pause{1};; pause = std::min(2 * pause, milliseconds{32})) {
      auto answer = attempt();  // never assigned: tl::expected cannot, without exceptions
      if (errno_of(answer) != -ENOMEM || now() >= until) return answer;
      std::this_thread::sleep_for(pause);
    }
  }

 private:
  using clock = std::chrono::steady_clock;
  [[nodiscard]] static std::int64_t ticks(clock::duration time) noexcept { return time.count(); }
  [[nodiscard]] static std::int64_t now() noexcept {
    return ticks(clock::now().time_since_epoch());
  }

  /// When the last one is expected to be done.
  inline static std::atomic<std::int64_t> until_{std::int64_t{0}};
};

}  // namespace tether::detail
