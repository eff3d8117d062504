// SPDX-License-Identifier: BSL-1.0
// Mapping granularity: how a section is cut into mappings. The listener passes the rest of a
// section to a granularity, maps the first piece that it returns, and goes on with the remainder;
// where coordinated discards are to stay possible, each block must be a mapping of its own, because
// no IOMMU unmaps part of one.
//
//     section   |=================================================|
//     whole     |                                                 |   fewest mappings
//     largest   |.|.|...|.......................|.......|...|.|.|.|   one page of the IOMMU each
//     fixed     |....|.........|.........|.........|.........|....|   on the RAM block's grid
#pragma once

#include <tether/core/address.hpp>
#include <tether/core/mapping.hpp>
#include <tether/core/page_sizes.hpp>
#include <tether/core/slots.hpp>

#include <concepts>
#include <cstdint>
#include <type_traits>

namespace tether {

namespace detail {

/// A granularity but for the size of its blocks.
template <class S>
concept cuts_sections = std::same_as<typename S::slot, granularity_slot> &&
                        requires(mapping const& rest, block_offset offset, page_sizes sizes) {
                          {
                            S::first_piece(rest, offset, sizes)
                          } noexcept -> std::same_as<std::uint64_t>;
                          {
                            S::pieces(rest, offset, sizes)
                          } noexcept -> std::same_as<std::uint64_t>;
                          requires std::same_as<decltype(S::block_size), const std::uint64_t>;
                        };
/// No blocks, or blocks of a power of two, of at least 4 KiB.
template <class S>
concept has_sound_blocks = requires {
  typename std::bool_constant<S::block_size == 0>;
} && (S::block_size == 0 || S::block_size >= 4 * KiB) && (S::block_size & (S::block_size - 1)) == 0;

}  // namespace detail

/// A granularity: a stateless struct for the slot `granularity_slot`.
/// Minimal:
///   - `first_piece(rest, offset, sizes)`: bytes of the first piece of what remains of a section;
///   - `pieces(rest, offset, sizes)`: how many pieces the whole of `rest` takes;
///   - `block_size`: 0 where pieces are no uniform blocks, else the block in bytes: a power of two,
///     at least 4 KiB.
///   `offset` says where the first byte of `rest` lies in its RAM block; `sizes` are the page
///   sizes that the container was attached with.
/// Requires: `rest` begins and ends on the smallest page of `sizes`, in IOVA and host address, and
/// is not all 2^64 bytes.
/// Laws: `laws/granularity.hpp`. 0 < first_piece <= the size of `rest`; the pieces tile it;
/// `pieces` counts them; the pieces of a part that begins at a piece's border are those of the
/// whole.
/// Cost: `first_piece` a few instructions; `pieces` at most one step per page size, never one per
/// piece.
/// Models: `whole_section`, `largest_page`, `fixed_block`.
template <class S>
concept granularity = detail::cuts_sections<S> && detail::has_sound_blocks<S>;

/// Whether `S` maps in blocks that can be unmapped one by one, so that coordinated discards may go
/// on (law 3).
template <granularity S>
inline constexpr bool maps_in_blocks = S::block_size != 0;

/// Whether every cut that `S` makes inside `all` is on a page boundary of the IOMMU: the block is
/// no smaller than the smallest page, and the grid of the RAM block is aligned to the IOMMU's.
/// Fails (false): the listener must refuse with `errc::granularity_mismatch`; the kernel would,
/// less clearly.
template <granularity S>
[[nodiscard]] constexpr bool cuts_between_pages(mapping const& all, block_offset offset,
                                                page_sizes sizes) noexcept {
  if constexpr (!maps_in_blocks<S>) return true;
  const std::uint64_t page = sizes.smallest();
  const bool block_holds_pages = (S::block_size & (page - 1)) == 0;
  const bool grids_agree = ((all.where.first.value - offset.value) & (page - 1)) == 0;
  return S::pieces(all, offset, sizes) == 1 || (block_holds_pages && grids_agree);
}

}  // namespace tether
