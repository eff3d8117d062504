// SPDX-License-Identifier: BSL-1.0
// Faults pages in for writing and keeps their contents, so that what is pinned afterwards is the
// page that the CPU uses, not the shared zero page or one that KSM merged (law 15).
#pragma once

#include <tether/core/kernel.hpp>

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <sys/mman.h>

namespace tether::detail {

/// MADV_POPULATE_WRITE, Linux 5.14: older headers lack it.
inline constexpr int populate_write = 23;

/// One write fault per page, by compare-and-exchange with the present value: no vCPU's write is
/// lost, and no compiler turns it into a load, as some do with `fetch_or(0)`.
inline void touch_each(std::uint64_t host, std::uint64_t size) noexcept {
  const std::uint64_t step = linux_kernel::page_size();
  for (std::uint64_t done = 0; done < size; done += step) {
    std::atomic_ref<unsigned char> byte{
        *reinterpret_cast<unsigned char*>(static_cast<std::uintptr_t>(host + done))};
    unsigned char now = byte.load(std::memory_order_relaxed);
    while (!byte.compare_exchange_weak(now, now, std::memory_order_relaxed)) {}
  }
}

/// Populates whole pages. `calls`: a kernel, or a table that has its `madvise`. `mergeable`:
/// whether KSM may merge them (private memory).
/// Fails: the negative errno; -EFAULT if the file behind them shrank.
template <class Calls>
[[nodiscard]] std::int64_t populate_pages(Calls const& calls, std::uint64_t host,
                                          std::uint64_t size, bool mergeable) noexcept {
  // First stop KSM from merging them, or the zero page may return. EINVAL: a kernel without KSM.
  std::int64_t answer = mergeable ? calls.madvise(host, size, MADV_UNMERGEABLE) : 0;
  if (answer >= 0 || answer == -EINVAL) answer = -EINTR;
  while (answer == -EINTR) answer = calls.madvise(host, size, populate_write);
  // A kernel that lacks the advice refuses it even for zero bytes. Any other EINVAL: the memory is
  // not writable, and must not be touched.
  if (answer == -EINVAL && calls.madvise(host, 0, populate_write) == -EINVAL) {
    touch_each(host, size);
    answer = 0;
  }
  return answer;
}

}  // namespace tether::detail
