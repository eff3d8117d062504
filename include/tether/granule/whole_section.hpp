// SPDX-License-Identifier: BSL-1.0
// One mapping per section: the fewest entries and the fastest attach. No part of a section can be
// unmapped alone, so while such a container pins, nothing at all is discarded (law 3).
#pragma once

#include <tether/granule/concepts.hpp>

#include <cstdint>

namespace tether {

/// A section is one piece.
struct whole_section {
  using slot = granularity_slot;
  static constexpr std::uint64_t block_size = 0;

  [[nodiscard]] static constexpr std::uint64_t first_piece(mapping const& rest, block_offset,
                                                           page_sizes) noexcept {
    return rest.where.size();
  }
  [[nodiscard]] static constexpr std::uint64_t pieces(mapping const&, block_offset,
                                                      page_sizes) noexcept {
    return 1;
  }
};

static_assert(granularity<whole_section>);

}  // namespace tether
