// SPDX-License-Identifier: BSL-1.0
// Questions about memory that the kernel has refused something of: so an error says the cause, and
// not what its errno stands for most often. Asked after a failure only.
#pragma once

#include <tether/topology/detail/mapped_memory.hpp>
#include <tether/topology/detail/received_file.hpp>

#include <tether/core/kernel.hpp>

#include <cerrno>
#include <cstdint>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>

namespace tether::detail {

/// Whether some of these pages are locked (mlock(2)). Source: msync(2), which invalidates no locked
/// page, and answers EBUSY; it does nothing else.
template <class Kernel>
[[nodiscard]] bool any_locked(std::uint64_t host, std::uint64_t size) noexcept {
  return Kernel::call(SYS_msync, host, size, MS_ASYNC | MS_INVALIDATE) == -EBUSY;
}

/// Where the locked pages from `host` on end at the soonest: a mapping is locked as a whole. 0 if
/// that page is not locked, or nobody says.
template <class Kernel>
[[nodiscard]] std::uint64_t locked_until(std::uint64_t host) noexcept {
  if (!any_locked<Kernel>(host, Kernel::page_size())) return 0;
  proc_lines<Kernel> lines{"/proc/thread-self/maps"};
  map_entry entry;
  for (auto line = lines.next(); !line.empty(); line = lines.next())
    if (map_entry::read(line, entry) && entry.first <= host && host < entry.end) return entry.end;
  return 0;
}

/// Whether a page of the file that lies in front of byte `end` can be missing because its tmpfs has
/// room for no more: then an access is a SIGBUS, as if the file had shrunk.
template <class Kernel>
[[nodiscard]] bool file_system_is_full(int descriptor, std::uint64_t end) noexcept {
  struct stat status{};
  struct statfs system{};
  if (Kernel::fstat(descriptor, status) < 0 || static_cast<std::uint64_t>(status.st_size) < end)
    return false;
  return Kernel::call(SYS_fstatfs, descriptor, &system) == 0 &&
         (static_cast<std::uint64_t>(system.f_type) & 0xffffffff) == tmpfs_magic &&
         system.f_blocks != 0 && system.f_bavail == 0;
}

}  // namespace tether::detail
