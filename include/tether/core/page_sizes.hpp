// SPDX-License-Identifier: BSL-1.0
// Which page sizes an IOMMU can use, as the mask that kernels report: bit n set means pages of 2^n
// bytes. They differ by machine and change when a group joins.
// Source: `vfio_iommu_type1_info::iova_pgsizes`.
#pragma once

#include <tether/core/address.hpp>

#include <bit>
#include <cstdint>

namespace tether {

/// A set of page sizes. Units: bytes; bit n stands for 2^n. Invariant for every use below: not
/// empty.
struct page_sizes {
  std::uint64_t mask = 4 * KiB;  ///< the sum of all sizes, bytes each

  friend constexpr bool operator==(page_sizes, page_sizes) noexcept = default;

  [[nodiscard]] constexpr bool empty() const noexcept { return mask == 0; }
  /// The alignment that every mapping must have. Requires: not empty. Never assume 4 KiB.
  [[nodiscard]] constexpr std::uint64_t smallest() const noexcept { return mask & (~mask + 1); }
  [[nodiscard]] constexpr std::uint64_t largest() const noexcept { return std::bit_floor(mask); }
  [[nodiscard]] constexpr bool has(std::uint64_t size) const noexcept {
    return std::has_single_bit(size) && (mask & size) != 0;
  }

  /// The largest page that is no larger than `room` and to which `bits` (addresses ored together)
  /// is aligned, or 0 if there is none.
  [[nodiscard]] constexpr std::uint64_t largest_at(std::uint64_t bits,
                                                   std::uint64_t room) const noexcept {
    // The sizes that divide `bits` (all, if it is 0) and are at most `room` (0 stands for 2^64).
    const std::uint64_t fits =
        mask & (bits ^ (bits - 1)) & (~std::uint64_t{0} >> (std::countl_zero(room) & 63));
    return fits == 0 ? 0 : (std::uint64_t{1} << 63) >> std::countl_zero(fits);
  }
};

/// The page sizes of the CPU's page tables: the base page, and what one table of each of the next
/// two levels covers. On x86 4 KiB, 2 MiB and 1 GiB. For a backend whose pins follow the CPU's page
/// tables and that has no mask of its own.
[[nodiscard]] constexpr page_sizes sizes_of_page_tables(std::uint64_t page) noexcept {
  const std::uint64_t entries = page / sizeof(std::uint64_t);
  return {page | page * entries | page * entries * entries};
}

/// `at` rounded down and up to a multiple of `unit`, a power of two. Rounding up may wrap to zero.
[[nodiscard]] constexpr std::uint64_t round_down(std::uint64_t at, std::uint64_t unit) noexcept {
  return at & ~(unit - 1);
}
[[nodiscard]] constexpr std::uint64_t round_up(std::uint64_t at, std::uint64_t unit) noexcept {
  return round_down(at + (unit - 1), unit);
}

}  // namespace tether
