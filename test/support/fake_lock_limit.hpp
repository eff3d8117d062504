// SPDX-License-Identifier: BSL-1.0
// What a fake kernel answers who asks for the limit of locked memory: /proc/thread-self/status, as
// an ordinary user's, and RLIMIT_MEMLOCK. The rest of /proc is Linux's own.
#pragma once

#include <tether/core/address.hpp>
#include <tether/core/kernel.hpp>

#include <array>
#include <cerrno>
#include <cstdint>
#include <string>
#include <string_view>
#include <sys/resource.h>
#include <sys/syscall.h>

namespace tether_test {

/// Whether these are the arguments of a call that asks.
[[nodiscard]] inline bool asks_lock_limit(long number, std::array<std::uintptr_t, 8> const& words) {
  if (number == SYS_prlimit64) return words[1] == RLIMIT_MEMLOCK && words[2] == 0;
  return number == SYS_openat &&
         std::string_view{reinterpret_cast<const char*>(words[1])}.starts_with("/proc/");
}

/// `lockable` is the limit, `locked` what the process has locked (VmLck) and pinned (VmPin). Units:
/// bytes.
[[nodiscard]] inline std::int64_t tell_lock_limit(long number,
                                                  std::array<std::uintptr_t, 8> const& words,
                                                  std::uint64_t lockable, std::uint64_t locked) {
  if (number == SYS_prlimit64) {
    *reinterpret_cast<rlimit64*>(words[3]) = {lockable, lockable};
    return 0;
  }
  auto const* const path = reinterpret_cast<const char*>(words[1]);
  if (std::string_view{path} != "/proc/thread-self/status")
    return tether::linux_kernel::call(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
  const std::string kib = std::to_string(locked / tether::KiB);
  const std::string text =
      "Name:\tfake\nVmLck:\t" + kib + " kB\nVmPin:\t" + kib + " kB\nCapEff:\t0000000000000000\n";
  const auto file = tether::linux_kernel::memfd_create("status", MFD_CLOEXEC);
  if (file < 0) return file;
  const auto written = ::pwrite(static_cast<int>(file), text.data(), text.size(), 0);
  return written == static_cast<ssize_t>(text.size()) ? file : -EIO;
}

}  // namespace tether_test
