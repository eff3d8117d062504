// SPDX-License-Identifier: BSL-1.0
// MADV_DONTNEED of many places in one system call: each call sends a TLB shootdown to every vCPU,
// so scattered pages that go one by one stop the whole guest once a page.
#pragma once

#include <tether/version.hpp>

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>

namespace tether::detail {

/// process_madvise(2) of this process on itself. Needs Linux 6.15, which has PIDFD_SELF, so that no
/// descriptor is open that a child of a fork would have of its parent; Linux takes MADV_DONTNEED of
/// one's own memory since 6.13. Shoots down once for all ranges since 6.16.
template <class Kernel>
class range_advice {
 public:
  /// Drops the private pages of `count` ranges in turn, as long as none fails. Returns how many
  /// bytes went; 0, without a system call, where this process's kernel or sandbox has denied the
  /// call before; the negative errno if the first range failed, or the call was denied now.
  [[nodiscard]] static std::int64_t drop(iovec const* ranges, std::size_t count) noexcept {
    if (denied_.load(std::memory_order_relaxed)) return 0;
    std::int64_t answer = -EINTR;
    while (answer == -EINTR)
      answer = Kernel::call(SYS_process_madvise, self, ranges, count, MADV_DONTNEED, 0U);
    if (denies(answer)) denied_.store(true, std::memory_order_relaxed);
    return answer;
  }
  /// For tests: as if the call had never been tried.
  static void forget() noexcept { denied_.store(false, std::memory_order_relaxed); }

 private:
  static constexpr int self = -10000;  // PIDFD_SELF_THREAD, which missing headers do not name
  /// No such call, or no PIDFD_SELF; or a sandbox. A range is refused with none of them, but for
  /// memory that is sealed (mseal(2)) and read-only, which nobody discards.
  static constexpr bool denies(std::int64_t answer) noexcept {
    return answer == -ENOSYS || answer == -EBADF || answer == -EPERM || answer == -EACCES;
  }

  // A child of a fork has the same kernel, and its parent's sandbox at least.
  inline static std::atomic<bool> denied_{false};
};

}  // namespace tether::detail
