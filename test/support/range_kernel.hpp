// SPDX-License-Identifier: BSL-1.0
// Kernels that take MADV_DONTNEED of many ranges in one call, and kernels that do not, whichever
// this host's is: so that the number of system calls of a discard is known exactly.
#pragma once

#include <support/faulty_kernel.hpp>

#include <tether/topology/detail/range_advice.hpp>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <vector>

namespace tether_test {

/// Counts the calls that discard. `Denied` is the errno of process_madvise, 0 where it is taken;
/// each number is a kernel of its own, with a memory of its own of what was denied.
template <int Denied>
struct range_kernel : tether::faulty_kernel {
  using answer = tether::faulty_kernel::answer;

  static inline std::uint64_t vectored = 0;       ///< process_madvise, denied or not
  static inline std::uint64_t single = 0;         ///< madvise
  static inline std::vector<std::size_t> ranges;  ///< of each process_madvise
  /// The range, counted from 1 in each process_madvise, that fails with EIO. 0: none.
  static inline std::size_t failing_range = 0;

  /// Bytes that one process_madvise takes at most, as Linux's takes 2 GiB: it ends within a range.
  static inline std::uint64_t most_bytes = ~std::uint64_t{0};
  /// How many process_madvise are interrupted by a signal.
  static inline std::uint64_t interrupted = 0;

  static void reset() {
    tether::faulty_kernel::reset();
    tether::detail::range_advice<range_kernel>::forget();
    vectored = single = failing_range = interrupted = 0;
    most_bytes = ~std::uint64_t{0};
    ranges.clear();
  }

  [[nodiscard]] static answer madvise(std::uint64_t host, std::uint64_t size, int advice) noexcept {
    ++single;
    return tether::faulty_kernel::madvise(host, size, advice);
  }
  template <class... Arguments>
  [[nodiscard]] static answer call(long number, Arguments... arguments) noexcept {
    return tether::faulty_kernel::call(number, arguments...);
  }
  /// Source: mm/madvise.c answers the bytes of the ranges before the first that fails, or its errno
  /// if that is the first.
  [[nodiscard]] static answer call(long number, int whose, iovec const* all, std::size_t count,
                                   int advice, unsigned flags) noexcept {
    if (number != SYS_process_madvise)
      return tether::faulty_kernel::call(number, whose, all, count, advice, flags);
    ++vectored;
    ranges.push_back(count);
    if (const int fault = next(tether::kernel_call::numbered)) return -fault;
    if (Denied != 0) return -Denied;
    if (interrupted != 0) return --interrupted, -EINTR;
    if (whose != -10000 || advice != MADV_DONTNEED || flags != 0 || count > 1024) return -EINVAL;
    std::uint64_t done = 0;
    for (std::size_t at = 0; at != count && done < most_bytes; ++at) {
      const std::uint64_t bytes = std::min<std::uint64_t>(all[at].iov_len, most_bytes - done);
      const auto host = reinterpret_cast<std::uintptr_t>(all[at].iov_base);
      const answer one =
          at + 1 == failing_range ? -EIO : tether::linux_kernel::madvise(host, bytes, advice);
      if (one < 0) return done != 0 ? static_cast<answer>(done) : one;
      done += bytes;
    }
    return static_cast<answer>(done);
  }
};

/// Linux 6.16 and later.
using takes_ranges = range_kernel<0>;
/// Linux up to 5.9, or a sandbox that says so.
using takes_no_ranges = range_kernel<ENOSYS>;

}  // namespace tether_test
