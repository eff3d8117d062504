// SPDX-License-Identifier: BSL-1.0
// Blocks of one size, on a grid that starts at offset 0 of the RAM block: discards are by offset in
// the RAM block, so a coordinated discard of a block unmaps whole mappings only, and aliases of the
// memory share the grid.
//
//     RAM block   0        Size      2*Size     3*Size
//                 |.........|.........|..........|....
//     section          |====|=========|=====|                first and last piece may be short
#pragma once

#include <tether/granule/concepts.hpp>

#include <algorithm>
#include <cstdint>

namespace tether {

/// Pieces end on multiples of `Size` bytes of the RAM block. The smaller `Size`, the finer the
/// granularity of a discard manager (RamDiscardManager), and the more of the container's mapping
/// limit it takes.
/// Requires: `Size` is a power of two, at least 4 KiB, or it is no granularity (tether[G1]); and a
/// multiple of the IOMMU's page (`cuts_between_pages`).
template <std::uint64_t Size>
struct fixed_block {
  using slot = granularity_slot;
  static constexpr std::uint64_t block_size = Size;

  [[nodiscard]] static constexpr std::uint64_t first_piece(mapping const& rest, block_offset offset,
                                                           page_sizes) noexcept {
    return std::min(rest.where.size(), Size - (offset.value & (Size - 1)));
  }
  /// The number of blocks of the grid that `rest` touches.
  [[nodiscard]] static constexpr std::uint64_t pieces(mapping const& rest, block_offset offset,
                                                      page_sizes) noexcept {
    return (offset.value + (rest.where.size() - 1)) / Size - offset.value / Size + 1;
  }
};

static_assert(granularity<fixed_block<64 * KiB>>);

}  // namespace tether
