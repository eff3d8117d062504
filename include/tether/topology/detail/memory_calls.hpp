// SPDX-License-Identifier: BSL-1.0
// The system calls that memory needs once it is made, as a table of function pointers: so
// `memory_backing`, and with it every section and view, is no template of the kernel.
#pragma once

#include <tether/topology/detail/memory_state.hpp>
#include <tether/topology/detail/range_advice.hpp>

#include <cstddef>
#include <cstdint>
#include <sys/uio.h>

namespace tether::detail {

/// Each returns what the kernel's function of that name does: the negative errno if it failed.
/// Cost: an indirect call, negligible beside the system call.
struct memory_calls {
  std::int64_t (*madvise)(std::uint64_t, std::uint64_t, int) noexcept;
  /// `range_advice::drop`
  std::int64_t (*drop_ranges)(iovec const*, std::size_t) noexcept;
  std::int64_t (*fallocate)(int, int, std::uint64_t, std::uint64_t) noexcept;
  std::int64_t (*mmap)(std::uint64_t, int, int, int, std::uint64_t) noexcept;
  std::int64_t (*move_mapping)(std::uint64_t, std::uint64_t, std::uint64_t) noexcept;
  std::int64_t (*munmap)(std::uint64_t, std::uint64_t) noexcept;
  std::int64_t (*seals)(int) noexcept;
  std::int64_t (*close)(int) noexcept;
  /// The questions of memory_state.
  bool (*any_locked)(std::uint64_t, std::uint64_t) noexcept;
  std::uint64_t (*locked_until)(std::uint64_t) noexcept;
  bool (*file_system_is_full)(int, std::uint64_t) noexcept;
};

template <class Kernel>
inline constexpr memory_calls memory_calls_of{&Kernel::madvise,
                                              &range_advice<Kernel>::drop,
                                              &Kernel::fallocate,
                                              &Kernel::mmap,
                                              &Kernel::move_mapping,
                                              &Kernel::munmap,
                                              &Kernel::seals,
                                              &Kernel::close,
                                              &detail::any_locked<Kernel>,
                                              &detail::locked_until<Kernel>,
                                              &detail::file_system_is_full<Kernel>};

}  // namespace tether::detail
