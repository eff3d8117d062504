// SPDX-License-Identifier: BSL-1.0
// What host memory asks of the kernel once it is made, and the ways in which it is given back.
#pragma once

#include <tether/core/kernel.hpp>

#include <cstdint>

namespace tether::detail {

/// The calls that memory needs once it is made, so that nothing above it is a template of the kernel.
/// An indirect call beside a system call costs nothing.
struct memory_calls {
  std::int64_t (*madvise)(std::uint64_t, std::uint64_t, int) noexcept;
  std::int64_t (*fallocate)(int, int, std::uint64_t, std::uint64_t) noexcept;
  std::int64_t (*mmap)(std::uint64_t, int, int, int, std::uint64_t) noexcept;
  std::int64_t (*move_mapping)(std::uint64_t, std::uint64_t, std::uint64_t) noexcept;
  std::int64_t (*munmap)(std::uint64_t, std::uint64_t) noexcept;
  std::int64_t (*seals)(int) noexcept;
  std::int64_t (*close)(int) noexcept;
};

template <class Kernel>
inline constexpr memory_calls memory_calls_of{&Kernel::madvise, &Kernel::fallocate, &Kernel::mmap, &Kernel::move_mapping,
                                              &Kernel::munmap,  &Kernel::seals,     &Kernel::close};

/// How memory is given back; the table in memory_backing.hpp says which memory is how.
enum class discard_method : std::uint8_t { refuse, forget_private, replace_private, remove_shared, punch_hole };

/// MADV_POPULATE_WRITE, Linux 5.14: older headers do not name it.
inline constexpr int populate_write = 23;

}  // namespace tether::detail
