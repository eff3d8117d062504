// SPDX-License-Identifier: BSL-1.0
// The fewest pieces such that each is one page of the IOMMU: for backends whose entries are pages,
// and for seeing in the journal which pages an IOMMU can use for a layout. Its pieces are no
// uniform blocks, so while such a container pins, nothing is discarded (law 3).
//
//     IOVA  ...1ff000 | 200000          | 400000 401000   pages grow to the largest that is
//     host  ...7ff000 | 800000          | a00000 a01000   aligned on both sides, and shrink again
//             4 KiB   |  2 MiB          |  4 KiB   ...    towards the end
#pragma once

#include <tether/granule/concepts.hpp>

#include <bit>
#include <cstdint>

namespace tether {

/// A piece is one page of the mask, aligned in IOVA and host address, as large as fits. Because
/// page sizes are powers of two, any two such pages are nested or disjoint, so the greedy choice is
/// optimal: taking the largest each time gives the fewest in all.
struct largest_page {
  using slot = granularity_slot;
  static constexpr std::uint64_t block_size = 0;

  /// If `rest` does not begin on a page, against the requirement, returns all of it: the backend
  /// refuses that, and no loop runs for ever.
  [[nodiscard]] static constexpr std::uint64_t first_piece(mapping const& rest, block_offset,
                                                           page_sizes sizes) noexcept {
    const std::uint64_t page =
        sizes.largest_at(rest.where.first.value | rest.host.value, rest.where.size());
    return page != 0 ? page : rest.where.size();
  }

  /// Cost: one step per page size. From the largest page down: the first border that lies inside
  /// splits `rest` into a lead and a tail, and each size takes what it can of the tail's front and
  /// of the lead's back.
  [[nodiscard]] static constexpr std::uint64_t pieces(mapping const& rest, block_offset,
                                                      page_sizes sizes) noexcept {
    const std::uint64_t begin = rest.where.first.value;
    // pages above its lowest set bit are never aligned on both sides
    const std::uint64_t apart = begin ^ rest.host.value;
    const std::uint64_t usable =
        apart == 0 ? sizes.mask
                   : sizes.mask & ((apart & (~apart + 1)) | ((apart & (~apart + 1)) - 1));

    std::uint64_t count = 0;
    std::uint64_t lead = 0;
    std::uint64_t tail = rest.where.size();
    bool anchored = false;  // whether a border has been found
    for (std::uint64_t left = usable; left != 0; left &= ~std::bit_floor(left)) {
      const std::uint64_t page = std::bit_floor(left);
      const std::uint64_t to_border = (~begin + 1) & (page - 1);
      if (!anchored) {
        if (to_border > tail) continue;
        anchored = true;
        lead = to_border;
        tail -= to_border;
      } else {
        count += (lead - to_border) / page;
        lead = to_border;
      }
      count += tail / page;
      tail %= page;
    }
    return anchored ? count : 1;
  }
};

static_assert(granularity<largest_page>);

}  // namespace tether
