// SPDX-License-Identifier: BSL-1.0
#include <tether/granule/concepts.hpp>

#include <tether/granule/fixed_block.hpp>

#include <cstdint>

using namespace tether;

namespace {

struct good {
  using slot = granularity_slot;
  static constexpr std::uint64_t block_size = 8 * KiB;
  static constexpr std::uint64_t first_piece(mapping const& rest, block_offset,
                                             page_sizes) noexcept {
    return rest.where.size();
  }
  static constexpr std::uint64_t pieces(mapping const&, block_offset, page_sizes) noexcept {
    return 1;
  }
};
struct wrong_slot : good {
  using slot = edges_slot;
};
struct no_slot {
  [[maybe_unused]] static constexpr std::uint64_t block_size = 0;
  static constexpr std::uint64_t first_piece(mapping const& rest, block_offset,
                                             page_sizes) noexcept {
    return rest.where.size();
  }
  static constexpr std::uint64_t pieces(mapping const&, block_offset, page_sizes) noexcept {
    return 1;
  }
};
struct may_throw : good {
  static constexpr std::uint64_t first_piece(mapping const& rest, block_offset, page_sizes) {
    return rest.where.size();
  }
};
struct narrow : good {
  static constexpr unsigned pieces(mapping const&, block_offset, page_sizes) noexcept { return 1; }
};
struct block_size_changes : good {
  [[maybe_unused]] static inline std::uint64_t block_size = 0;
};

static_assert(granularity<good>);
static_assert(!granularity<wrong_slot>);
static_assert(!granularity<no_slot>);
static_assert(!granularity<may_throw>, "undo runs through it");
static_assert(!granularity<narrow>,
              "a count of 4 KiB pieces in a large section does not fit 32 bits");
static_assert(!granularity<block_size_changes>);
static_assert(!granularity<int>);
static_assert(granularity<fixed_block<4 * KiB>> && !granularity<fixed_block<2 * KiB>> &&
                  !granularity<fixed_block<48 * KiB>>,
              "the grid is found by masking");
static_assert(maps_in_blocks<good>);

}  // namespace
