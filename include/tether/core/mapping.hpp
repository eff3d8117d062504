// SPDX-License-Identifier: BSL-1.0
// One entry of an IOMMU: these I/O addresses reach that host memory with those rights. The DMA
// listener makes a mapping of each section, a granularity policy cuts it, a backend maps the parts.
#pragma once

#include <tether/core/address.hpp>
#include <tether/core/extent.hpp>

#include <cstdint>

namespace tether {

/// What a device may do with a mapping. Named from the device's side: `write` is the device writing
/// RAM.
enum class access : std::uint8_t { none = 0, read = 1, write = 2, read_write = 3 };

/// Whether `granted` covers all of `wanted`.
[[nodiscard]] constexpr bool allows(access granted, access wanted) noexcept {
  return (static_cast<unsigned>(granted) & static_cast<unsigned>(wanted)) ==
         static_cast<unsigned>(wanted);
}

/// The kind of host memory, which decides how it is pinned and discarded.
enum class memory_kind : std::uint8_t {
  /// this process's own; MADV_DONTNEED drops it, the next access faults in a new page
  private_anonymous,
  /// a private file mapping (snapshot, template); a discard drops its copy-on-write pages too, and
  /// leaves zeros
  private_file,
  shared,   ///< a memfd or tmpfs file, mapped shared; only punching a hole drops it
  hugetlb,  ///< huge pages from the pool, in units of their own size
  device,   ///< a device's BAR: never discarded, and the kernel may refuse to map it
};

/// Whether it is copy-on-write: the first write to a page that was only read replaces it (law 15).
[[nodiscard]] constexpr bool is_private(memory_kind kind) noexcept {
  return kind == memory_kind::private_anonymous || kind == memory_kind::private_file;
}

/// The source of shared memory: a memfd or tmpfs file, to be mapped from byte `offset` on.
struct file_source {
  std::int32_t descriptor = -1;  ///< of the file
  std::uint64_t offset = 0;      ///< bytes from the file's beginning
};

/// Host memory that devices reach at the I/O addresses `where`. Units: bytes. Invariant in a
/// backend: `where` and `host` are multiples of its smallest page.
struct mapping {
  extent<io_address> where{};                           ///< where devices see it
  host_address host{};                                  ///< where this process sees it
  access rights = access::read_write;                   ///< what devices may do
  memory_kind memory = memory_kind::private_anonymous;  ///< what the memory is

  friend constexpr bool operator==(mapping const&, mapping const&) noexcept = default;

  /// The host address that `at` reaches. Requires: `where.contains(at)`.
  [[nodiscard]] constexpr host_address host_at(io_address at) const noexcept {
    return host + (at - where.first);
  }
};

/// Identifies memory. Two blocks of equal identity and size are the same memory, so a memory table
/// that is sent again names nothing new (law 26). Anonymous and all borrowed memory has no file:
/// device and inode are 0 and `offset` is its host address.
struct backing_identity {
  std::uint64_t device = 0;  ///< the file's `st_dev`
  std::uint64_t inode = 0;   ///< its `st_ino`
  std::uint64_t offset = 0;  ///< bytes from its beginning

  friend constexpr bool operator==(backing_identity const&,
                                   backing_identity const&) noexcept = default;
};

}  // namespace tether
