// SPDX-License-Identifier: BSL-1.0
// Why the kernel could not pin host memory. It has one errno for memory that is not there, that may
// not be written, and that is a file's which DMA must not write: /proc/thread-self/maps tells them
// apart.
#pragma once

#include <tether/core/detail/text_lines.hpp>
#include <tether/core/error.hpp>
#include <tether/core/kernel.hpp>
#include <tether/core/mapping.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <sys/syscall.h>
#include <sys/vfs.h>

namespace tether::detail {

/// What is at a host address, as far as it concerns pinning.
enum class host_memory_is : std::uint8_t { there, absent, read_only, on_a_disk, unknown };

/// Whether a file of this path and device number lies on a disk: neither in tmpfs nor in hugetlbfs,
/// whose pages are memory.
template <class Kernel>
[[nodiscard]] bool is_on_a_disk(std::string_view path, std::uint64_t major) noexcept {
  if (major != 0) return true;
  std::array<char, 512> name{};
  if (path.empty() || path.front() != '/' || path.size() >= name.size()) return false;
  std::copy(path.begin(), path.end(), name.begin());
  struct statfs system{};
  if (Kernel::call(SYS_statfs, name.data(), &system) < 0) return false;
  constexpr std::uint64_t tmpfs = 0x01021994;  // linux/magic.h
  constexpr std::uint64_t hugetlbfs = 0x958458f6;
  const auto magic = static_cast<std::uint64_t>(system.f_type) & 0xffffffff;
  return magic != tmpfs && magic != hugetlbfs;
}

/// Looks at all of a mapping's memory; answers what is wrong with its first part that is not
/// `there`. Cost: reads /proc/thread-self/maps.
template <class Kernel>
[[nodiscard, gnu::cold]] host_memory_is look_at_host(mapping const& what) noexcept {
  const std::uint64_t last = what.host.value + (what.where.last.value - what.where.first.value);
  std::uint64_t reached = what.host.value;
  auto found = host_memory_is::there;
  bool all = false;
  const auto look = [&](std::string_view line) noexcept {
    const std::uint64_t first = take_number(line, 16);
    line.remove_prefix(std::min<std::size_t>(1, line.size()));
    const std::uint64_t end = take_number(line, 16);
    if (end <= reached) return true;
    if (first > reached || line.size() < 6) return false;
    const bool writable = line[2] == 'w';
    const bool shared = line[4] == 's';
    line.remove_prefix(6);
    static_cast<void>(take_number(line, 16));  // its offset
    const std::uint64_t major = take_number(line, 16);
    const std::size_t path = line.find('/');
    const auto name = path == line.npos ? std::string_view{} : line.substr(path);
    if (!writable && allows(what.rights, access::write)) found = host_memory_is::read_only;
    else if (shared && is_on_a_disk<Kernel>(name, major)) found = host_memory_is::on_a_disk;
    reached = end;
    all = end - 1 >= last;
    return !all && found == host_memory_is::there;
  };
  if (for_each_line<Kernel>("/proc/thread-self/maps", look) < 0) return host_memory_is::unknown;
  return found == host_memory_is::there && !all ? host_memory_is::absent : found;
}

/// The error for memory that the kernel does not pin. Requires: what is mapped has a valid extent,
/// and does not wrap around.
template <class Kernel>
[[nodiscard, gnu::cold]] error why_not_pinned(const char* operation, mapping const& what) noexcept {
  const auto why = [&](errc cause) { return error{operation, cause}.at(what.where); };
  switch (look_at_host<Kernel>(what)) {
    case host_memory_is::absent:
      return why(errc::memory_gone).advise("not all of it is mapped in this process");
    case host_memory_is::read_only:
      return why(errc::access_denied)
          .advise("this process has it mapped for reading only, and it is pinned for writing");
    case host_memory_is::on_a_disk:
      return why(errc::wrong_kind)
          .advise("a file on a disk cannot be pinned for DMA: use a memfd, or a file in tmpfs");
    case host_memory_is::there:
      return why(errc::memory_gone)
          .advise("it is mapped, but cannot be pinned: is the file behind it long enough?");
    case host_memory_is::unknown: break;
  }
  return why(errc::memory_gone).advise("it is not mapped at that host address, or not pinnable");
}

}  // namespace tether::detail
