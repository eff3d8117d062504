// SPDX-License-Identifier: BSL-1.0
// How sections are fitted to pages and cut into pieces, against sums in 128 bits and a search for
// the fewest pieces: whatever the extent, the host address, the offset and the page sizes, up to
// the last byte of 2^64.
#include "input.hpp"

#include <tether/granule/concepts.hpp>
#include <tether/granule/edges.hpp>
#include <tether/granule/fixed_block.hpp>
#include <tether/granule/largest_page.hpp>
#include <tether/granule/whole_section.hpp>

#include <support/pieces.hpp>

#include <algorithm>
#include <bit>
#include <cstdint>
#include <limits>
#include <vector>

using namespace tether;
using tether_fuzz::demand;
using tether_fuzz::input;
using tether_test::all_but_first;

namespace {

// Wide enough for the end of 2^64, and for every sum of two addresses.
__extension__ using wide = unsigned __int128;

constexpr std::uint64_t most = std::numeric_limits<std::uint64_t>::max();

/// Whether one page of the mask can map `size` bytes there.
bool is_one_page(std::uint64_t iova, std::uint64_t host, std::uint64_t size, page_sizes sizes) {
  return std::has_single_bit(size) && (sizes.mask & size) != 0 && iova % size == 0 &&
         host % size == 0;
}

/// The fewest pages, by trying each at each place. Requires: at most some thousand smallest pages.
std::uint64_t fewest_by_search(mapping const& all, page_sizes sizes) {
  const std::uint64_t unit = sizes.smallest();
  const std::uint64_t units = all.where.size() / unit;
  std::vector<std::uint64_t> fewest(units + 1, most);
  fewest[units] = 0;
  for (std::uint64_t at = units; at-- > 0;) {
    for (std::uint64_t left = sizes.mask; left != 0; left &= left - 1) {
      const std::uint64_t size = left & (~left + 1);
      if (size / unit > units - at) break;
      if (!is_one_page(all.where.first.value + at * unit, all.host.value + at * unit, size, sizes))
        continue;
      if (const auto then = fewest[at + size / unit]; then != most)
        fewest[at] = std::min(fewest[at], then + 1);
    }
  }
  return fewest[0];
}

/// The same by counting: of each size, the aligned pages that fit inside but lie in none of the
/// next larger size.
std::uint64_t fewest_by_counting(mapping const& all, page_sizes sizes) {
  const wide first = all.where.first.value;
  const wide end = wide{all.where.last.value} + 1;
  wide count = 0;
  wide in_larger = 0;  // bytes
  for (int bit = 63; bit >= 0; --bit) {
    const std::uint64_t size = std::uint64_t{1} << bit;
    if ((sizes.mask & size) == 0 || (all.where.first.value ^ all.host.value) % size != 0) continue;
    const wide begin = (first + size - 1) / size * size;
    const wide stop = end / size * size;
    const wide inside = stop > begin ? stop - begin : 0;
    count += (inside - in_larger) / size;
    in_larger = inside;
  }
  return static_cast<std::uint64_t>(count);
}

void check_edges(mapping const& raw, std::uint64_t page) {
  const fitting fit = fit_to_pages(raw, page);
  const wide first = (wide{raw.where.first.value} + page - 1) / page * page;
  const wide end = (wide{raw.where.last.value} + 1) / page * page;
  const bool congruent = raw.where.first.value % page == raw.host.value % page;
  if (!congruent) {
    demand(fit.how == fitting::verdict::not_congruent,
           "what lies differently within its pages is said to");
  } else if (first >= end) {
    demand(fit.how == fitting::verdict::nothing_left,
           "where there is no whole page, nothing is left");
  } else {
    demand(fit.mappable(), "a whole page can be mapped");
    demand(fit.inside.where.first.value == first && wide{fit.inside.where.last.value} + 1 == end,
           "it is rounded inward, no further");
    demand(fit.inside.host.value - raw.host.value == fit.inside.where.first - raw.where.first,
           "the host address moves along");
    const wide left_out = wide{raw.where.last.value} + 1 - raw.where.first.value - (end - first);
    demand(fit.trimmed == left_out, "what is left out is counted");
    demand((fit.how == fitting::verdict::fits) == (left_out == 0),
           "it fits exactly if nothing is left out");
  }
  if (!fit.mappable())
    demand(fit.trimmed == raw.where.size(), "where nothing is mapped, all is left out");
  demand(!trim_edges::refuses(fit.how, false) && !refuse_edges::refuses(fit.how, false),
         "only RAM is refused");
  demand(trim_edges::refuses(fit.how, true) == !congruent,
         "trimming refuses RAM that is not congruent, and no other");
  const bool ragged = !congruent || first >= end || fit.trimmed != 0;
  demand(refuse_edges::refuses(fit.how, true) == ragged,
         "refusing refuses RAM that is not whole pages");
}

/// Cuts all of it if it is not too much, else some pieces from its front.
template <class Granularity, class LegalPiece>
void check_pieces(mapping const& all, block_offset offset, page_sizes sizes, LegalPiece is_legal) {
  constexpr std::uint64_t enough = 300;
  mapping rest = all;
  std::uint64_t announced = Granularity::pieces(all, offset, sizes);
  for (std::uint64_t cut = 0; cut < enough; ++cut) {
    demand(announced != 0, "there is no more left than was announced");
    const std::uint64_t size = Granularity::first_piece(rest, offset, sizes);
    demand(size != 0 && size <= rest.where.size(), "a piece lies within the rest");
    demand(is_legal(rest, offset, size), "a piece is one that the granularity may make");
    announced -= 1;
    if (size == rest.where.size()) {
      demand(announced == 0, "there is no less than was announced");
      return;
    }
    rest = all_but_first(rest, size);
    offset = offset + size;
    demand(Granularity::pieces(rest, offset, sizes) == announced,
           "the count of the rest is one less, wherever the cutting begins");
  }
}

template <std::uint64_t Size>
void check_blocks(mapping const& all, block_offset offset, page_sizes sizes) {
  using cut = fixed_block<Size>;
  check_pieces<cut>(all, offset, sizes,
                    [](mapping const& rest, block_offset at, std::uint64_t size) {
                      // It ends where the grid, or the section, does, and crosses no line of the grid.
                      const wide stop = wide{at.value} + size;
                      return (stop % Size == 0 || size == rest.where.size()) &&
                             at.value / Size == (at.value + (size - 1)) / Size;
                    });
  const wide blocks = (wide{offset.value} + all.where.size() - 1) / Size - offset.value / Size + 1;
  demand(cut::pieces(all, offset, sizes) == blocks, "the blocks that it touches are counted");
  // Borders lie where the block's offset is a multiple of `Size`; whether these are borders of the
  // IOMMU's pages as well:
  bool between_pages = true;
  for (wide border = (wide{offset.value} / Size + 1) * Size, seen = 0;
       border < wide{offset.value} + all.where.size() && seen < 64; border += Size, ++seen) {
    const auto iova = all.where.first.value + static_cast<std::uint64_t>(border - offset.value);
    between_pages = between_pages && iova % sizes.smallest() == 0;
  }
  demand(cuts_between_pages<cut>(all, offset, sizes) == between_pages,
         "cuts that the IOMMU cannot make are refused, and no others");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
  input in{data, size};
  // The page sizes: mostly an ordinary IOMMU's, also any set at all.
  page_sizes sizes{in.flag() ? in.number() : std::uint64_t{0x4020'1000}};
  if (sizes.empty()) sizes.mask = 4 * KiB;
  const std::uint64_t unit = sizes.smallest();

  const std::uint64_t first = in.number();
  const std::uint64_t bytes = in.number();
  const mapping raw{{io_address{first}, io_address{first + std::min(bytes, most - first)}},
                    host_address{in.flag() ? first + (in.number() & ~(unit - 1)) : in.number()}};
  check_edges(raw, unit);

  // Granularities get whole pages on both sides that do not wrap, and never all 2^64 bytes.
  mapping all = fit_to_pages(raw, unit).inside;
  if (!fit_to_pages(raw, unit).mappable() || all.where.is_everything() ||
      all.host.value > most - (all.where.size() - 1))
    return 0;
  // a block has no more bytes than 2^64 either
  const std::uint64_t room = most - (all.where.size() - 1);
  std::uint64_t at = in.number() % 4 == 0 ? all.where.first.value : in.number();
  if (room != most) at %= room + 1;
  const block_offset offset{at};

  check_pieces<whole_section>(all, offset, sizes,
                              [](mapping const& rest, block_offset, std::uint64_t piece) {
                                return piece == rest.where.size();
                              });
  check_blocks<4 * KiB>(all, offset, sizes);
  check_blocks<64 * KiB>(all, offset, sizes);
  check_blocks<2 * MiB>(all, offset, sizes);
  check_blocks<(std::uint64_t{1} << 63)>(all, offset, sizes);

  check_pieces<largest_page>(
      all, offset, sizes, [&](mapping const& rest, block_offset, std::uint64_t piece) {
        return is_one_page(rest.where.first.value, rest.host.value, piece, sizes);
      });
  const std::uint64_t announced = largest_page::pieces(all, offset, sizes);
  demand(announced == fewest_by_counting(all, sizes),
         "the largest pages are the fewest, by counting");
  if (all.where.size() / unit <= 1024)
    demand(announced == fewest_by_search(all, sizes),
           "the largest pages are the fewest, by search");
  return 0;
}
