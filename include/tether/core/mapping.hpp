// SPDX-License-Identifier: BSL-1.0
// One entry of an IOMMU: these I/O addresses reach that host memory with those rights. The listener
// makes them, a strategy cuts them, a backend maps them.
#pragma once

#include <tether/core/access.hpp>
#include <tether/core/address.hpp>
#include <tether/core/extent.hpp>

#include <cstdint>

namespace tether {

/// What host memory is, for whoever pins or discards it.
enum class memory_kind : std::uint8_t {
  private_anonymous,  ///< this process's own; MADV_DONTNEED drops it, a later touch gets another page
  private_file,       ///< a file, mapped private: a restored snapshot, a template; what lies over it is discarded with it, and zeros come
  shared,             ///< a memfd or tmpfs file, mapped shared; only a punched hole drops it
  hugetlb,            ///< huge pages from the pool, in units of their own size
  device,             ///< a device's BAR: never discarded, and a kernel may decline to map it
};

/// Whether this process alone sees what it writes there: a page that was only read is another one once it is written (law 15).
[[nodiscard]] constexpr bool is_private(memory_kind kind) noexcept {
  return kind == memory_kind::private_anonymous || kind == memory_kind::private_file;
}

/// Where shared memory comes from: `offset` bytes into a memfd or tmpfs file begins what is to be mapped.
struct file_source {
  std::int32_t descriptor = -1;
  std::uint64_t offset = 0;
};

/// Units: bytes. Invariant where a backend sees it: `where`, `host` are multiples of its smallest page.
struct mapping {
  extent<io_address> where{};
  host_address host{};
  access rights = access::read_write;
  memory_kind memory = memory_kind::private_anonymous;

  friend constexpr bool operator==(mapping const&, mapping const&) noexcept = default;

  /// The host address that `at` reaches. Requires: `where.contains(at)`.
  [[nodiscard]] constexpr host_address host_at(io_address at) const noexcept { return host + (at - where.first); }
  /// The first `size` bytes. Requires: 0 < size <= the mapping's.
  [[nodiscard]] constexpr mapping first_bytes(std::uint64_t size) const noexcept {
    mapping piece = *this;
    piece.where.last = where.first + (size - 1);
    return piece;
  }
  /// All but the first `size` bytes. Requires: 0 < size < the mapping's.
  [[nodiscard]] constexpr mapping after(std::uint64_t size) const noexcept {
    mapping rest = *this;
    rest.where.first = where.first + size;
    rest.host = host + size;
    return rest;
  }
};

}  // namespace tether
