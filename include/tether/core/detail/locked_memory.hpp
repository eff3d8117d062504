// SPDX-License-Identifier: BSL-1.0
// What to do where the kernel refuses to pin for want of memory (ENOMEM): raise the limit of locked
// memory, to one number that is enough, or nothing of the kind where no limit is in force. The
// kernel counts pinned pages in one of two places:
//
//     of the process (VmLck)   type1; iommufd, if its context counts by process
//     of the user              io_uring, iommufd: all processes of the user together, and no file
//                              shows it; but it never exceeds the limit
//
// Source: Linux' vfio_lock_acct, iopt_pages_update_pinned and __io_account_mem.
#pragma once

#include <tether/core/address.hpp>
#include <tether/core/detail/text_lines.hpp>
#include <tether/core/error.hpp>
#include <tether/core/kernel.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <fcntl.h>
#include <limits>
#include <string_view>
#include <sys/resource.h>
#include <sys/syscall.h>

namespace tether::detail {

/// Whose locked memory the kernel compares with the limit.
enum class locked_by : std::uint8_t { process, user };

/// What is known of the limit. Units: bytes.
struct lock_limit {
  bool in_force = true;     ///< false: this thread may lock what it likes
  std::uint64_t bytes = 0;  ///< the limit; 0 if it could not be read
  std::uint64_t held = 0;   ///< what this process has locked, of the kind that is counted
};

/// Whether this process is in the first user namespace, outside which the kernel does not let
/// CAP_IPC_LOCK lift the limit.
template <class Kernel>
[[nodiscard]] bool in_first_user_namespace() noexcept {
  std::array<char, 64> name{};
  const auto length =
      Kernel::call(SYS_readlinkat, AT_FDCWD, "/proc/thread-self/ns/user", name.data(), name.size());
  return length > 0 && std::string_view{name.data(), static_cast<std::size_t>(length)} ==
                           "user:[4026531837]";  // PROC_USER_INIT_INO
}

/// Asks /proc/thread-self/status and RLIMIT_MEMLOCK. What cannot be read: a limit in force.
template <class Kernel>
[[nodiscard, gnu::cold]] lock_limit read_lock_limit(locked_by whose) noexcept {
  lock_limit limit;
  bool privileged = false;
  static_cast<void>(
      for_each_line<Kernel>("/proc/thread-self/status", [&](std::string_view line) noexcept {
        const auto colon = std::min(line.find(':'), line.size());
        const auto name = line.substr(0, colon);
        line.remove_prefix(std::min(colon + 1, line.size()));
        constexpr unsigned ipc_lock = 14;  // CAP_IPC_LOCK
        if (name == "CapEff") privileged = (take_number(line, 16) >> ipc_lock & 1U) != 0;
        else if (name == (whose == locked_by::process ? "VmLck" : "VmPin"))
          limit.held = take_number(line, 10) * KiB;
        return true;
      }));
  rlimit64 soft{};
  if (Kernel::call(SYS_prlimit64, 0, static_cast<int>(RLIMIT_MEMLOCK), static_cast<void*>(nullptr),
                   &soft) >= 0)
    limit.bytes = soft.rlim_cur;
  limit.in_force =
      limit.bytes != RLIM64_INFINITY && !(privileged && in_first_user_namespace<Kernel>());
  return limit;
}

/// `why` with what to do. `wanted`: bytes of what was refused. If `why` names an extent, who knows
/// what else must be pinned adds that by `error::with_more`; if it names none, all that is mapped.
template <class Kernel>
[[nodiscard, gnu::cold]] error advise_on_locked_memory(error const& why, locked_by whose,
                                                       std::uint64_t wanted) noexcept {
  const lock_limit limit = read_lock_limit<Kernel>(whose);
  const bool fits = limit.bytes != 0 && limit.held <= limit.bytes && wanted != 0 &&
                    wanted <= limit.bytes - limit.held;
  if (!limit.in_force || (whose == locked_by::process && fits)) {
    return why.advise(
        "the host is short of memory: the locked-memory limit is not what stands in the way");
  }
  // The user's other processes hold what is not seen here, though never more than the limit.
  const std::uint64_t held = whose == locked_by::process && limit.held + wanted > limit.bytes
                                 ? limit.held
                                 : std::max(limit.held, limit.bytes);
  constexpr std::uint64_t most = std::numeric_limits<std::uint64_t>::max();
  const std::uint64_t enough = wanted > most - held ? most : held + wanted;
  return why.advise(whose == locked_by::process
                        ? "raise this process's locked-memory limit (ulimit -l) to {} KiB"
                        : "raise the locked-memory limit (ulimit -l), which counts all that this "
                          "user pins, to {} KiB",
                    std::max<std::uint64_t>(enough / KiB + (enough % KiB != 0 ? 1 : 0), 1));
}

/// Whether an error is one whose number `error::with_more` may raise.
[[nodiscard]] inline bool counts_locked_memory(error const& why) noexcept {
  return why.is_errno(ENOMEM) && why.number() != 0;
}

}  // namespace tether::detail
