// SPDX-License-Identifier: BSL-1.0
// The laws of the concept `granularity`, for any model: ours, and a user's own in
// `granularity.cpp`.
#pragma once

#include <tether/granule/concepts.hpp>

#include "support/pieces.hpp"

#include <doctest/doctest.h>

#include <cstdint>
#include <vector>

namespace tether::laws {

using tether_test::all_but_first;
using tether_test::first_bytes;

/// One section to cut: what to map, where it lies in its RAM block, and the frozen geometry.
struct cutting {
  mapping whole{};
  block_offset offset{};
  page_sizes sizes{};
};

/// `bytes` from `io` and `host`, at `offset` of the RAM block. Requires: whole pages of `sizes`.
[[nodiscard]] constexpr cutting cut_of(std::uint64_t io, std::uint64_t host, std::uint64_t offset,
                                       std::uint64_t bytes, page_sizes sizes) {
  return {{{io_address{io}, io_address{io} + (bytes - 1)}, host_address{host}},
          block_offset{offset},
          sizes};
}

/// The pieces as the listener makes them. Stops early (and short) when a piece breaks the first
/// law.
template <granularity S>
[[nodiscard]] constexpr std::vector<mapping> pieces_of(cutting const& cut) {
  std::vector<mapping> made;
  mapping rest = cut.whole;
  block_offset offset = cut.offset;
  for (;;) {
    const std::uint64_t size = S::first_piece(rest, offset, cut.sizes);
    if (size == 0 || size > rest.where.size()) return made;
    made.push_back(first_bytes(rest, size));
    if (size == rest.where.size()) return made;
    rest = all_but_first(rest, size);
    offset = offset + size;
  }
}

/// No gap, no overlap, host and rights go along, and the last piece ends with the section.
[[nodiscard]] constexpr bool tiles_exactly(std::vector<mapping> const& pieces,
                                           mapping const& whole) {
  io_address next = whole.where.first;
  for (auto const& piece : pieces) {
    if (piece.where.first != next || piece.host != whole.host_at(next)) return false;
    if (piece.rights != whole.rights || piece.memory != whole.memory) return false;
    next = piece.where.last + 1;
  }
  return !pieces.empty() && pieces.back().where.last == whole.where.last;
}

[[nodiscard]] constexpr bool lies_on_pages(std::vector<mapping> const& pieces, std::uint64_t page) {
  for (auto const& piece : pieces) {
    if (!piece.where.aligned_to(page) || !piece.host.aligned_to(page)) return false;
  }
  return true;
}

/// Law 16: no piece reaches over a line of the grid that starts at RAM-block offset 0.
[[nodiscard]] constexpr bool stays_inside_blocks(std::vector<mapping> const& pieces,
                                                 cutting const& cut, std::uint64_t block) {
  for (auto const& piece : pieces) {
    const std::uint64_t first = cut.offset.value + (piece.where.first - cut.whole.where.first);
    const std::uint64_t last = cut.offset.value + (piece.where.last - cut.whole.where.first);
    if (first / block != last / block) return false;
  }
  return true;
}

/// Cutting up to any border, and from it on, gives the pieces that cutting the whole gave: so a
/// rollback, a populate and a late join cut as the attach did (law 13).
template <granularity S>
[[nodiscard]] constexpr bool cuts_the_same_from_any_border(std::vector<mapping> const& pieces,
                                                           cutting const& cut) {
  const std::uint64_t total = S::pieces(cut.whole, cut.offset, cut.sizes);
  std::uint64_t done = 0;
  for (std::size_t count = 1; count < pieces.size(); ++count) {
    done += pieces[count - 1].where.size();
    const mapping before = first_bytes(cut.whole, done);
    const mapping behind = all_but_first(cut.whole, done);
    const std::uint64_t in_front = S::pieces(before, cut.offset, cut.sizes);
    if (in_front != count || in_front + S::pieces(behind, cut.offset + done, cut.sizes) != total)
      return false;
    if (S::first_piece(before, cut.offset, cut.sizes) != pieces.front().where.size()) return false;
    if (S::first_piece(behind, cut.offset + done, cut.sizes) != pieces[count].where.size())
      return false;
  }
  return true;
}

/// All laws at one section.
template <granularity S>
void check_granularity(cutting const& cut) {
  CAPTURE(cut.whole.where.first.value);
  CAPTURE(cut.whole.host.value);
  CAPTURE(cut.offset.value);
  CAPTURE(cut.whole.where.size());
  CAPTURE(cut.sizes.mask);
  REQUIRE(cuts_between_pages<S>(cut.whole, cut.offset, cut.sizes));

  const auto pieces = pieces_of<S>(cut);
  CHECK(tiles_exactly(pieces, cut.whole));
  CHECK(S::pieces(cut.whole, cut.offset, cut.sizes) == pieces.size());
  CHECK(lies_on_pages(pieces, cut.sizes.smallest()));
  if constexpr (maps_in_blocks<S>) CHECK(stays_inside_blocks(pieces, cut, S::block_size));
  CHECK(cuts_the_same_from_any_border<S>(pieces, cut));
}

}  // namespace tether::laws
