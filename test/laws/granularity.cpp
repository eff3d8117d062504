// SPDX-License-Identifier: BSL-1.0
// Every granularity, and one that a user could write, under the laws of `granularity.hpp`.
#include <laws/granularity.hpp>

#include <tether/granule/fixed_block.hpp>
#include <tether/granule/largest_page.hpp>
#include <tether/granule/whole_section.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <random>
#include <vector>

namespace laws_granularity {

using namespace tether;
using laws::cut_of;
using laws::cutting;
using tether_test::first_bytes;

namespace {

/// A user's own: small blocks in the first mebibyte of a RAM block, where a guest's firmware lives,
/// large ones above.
struct fine_below_one_mebibyte {
  using slot = granularity_slot;
  static constexpr std::uint64_t block_size = 0;

  static constexpr std::uint64_t block_at(std::uint64_t offset) noexcept {
    return offset < MiB ? 64 * KiB : MiB;
  }

  static constexpr std::uint64_t first_piece(mapping const& rest, block_offset offset,
                                             page_sizes) noexcept {
    const std::uint64_t block = block_at(offset.value);
    return std::min(rest.where.size(), block - offset.value % block);
  }
  static constexpr std::uint64_t pieces(mapping const& rest, block_offset offset,
                                        page_sizes) noexcept {
    const std::uint64_t last = offset.value + (rest.where.size() - 1);
    const auto number = [](std::uint64_t at) { return at < MiB ? at / (64 * KiB) : 15 + at / MiB; };
    return number(last) - number(offset.value) + 1;
  }
};

constexpr page_sizes small_pages{4 * KiB};
constexpr page_sizes pc_pages{4 * KiB | 2 * MiB | GiB};
constexpr page_sizes any_power{~std::uint64_t{4 * KiB - 1}};
constexpr page_sizes large_pages{64 * KiB | 512 * MiB};

/// Sections as they come: whole, one page, aligned and not on either side, alias windows into a
/// block, the end of the address space. All are whole pages of their geometry and their grids agree
/// with the RAM block's.
std::vector<cutting> sections() {
  std::vector<cutting> all;
  for (const page_sizes sizes : {small_pages, pc_pages, any_power, large_pages}) {
    const std::uint64_t page = sizes.smallest();
    all.push_back(cut_of(0, 0x7f00'0000'0000, 0, page, sizes));
    all.push_back(cut_of(0, 0x7f00'0000'0000, 0, 16 * MiB, sizes));
    all.push_back(cut_of(page, 0x7f00'0000'0000 + page, page, 8 * MiB, sizes));
    all.push_back(
        cut_of(4 * GiB - 3 * page, 0x7f00'0020'0000 - 3 * page, 5 * page, 6 * MiB + page, sizes));
    all.push_back(
        cut_of(2 * MiB - page, 0x7f00'0020'0000 - page, 31 * page, 4 * MiB + 2 * page, sizes));
    // IOVA and host address agree on the smallest page only.
    all.push_back(cut_of(2 * MiB, 0x7f00'0020'0000 + page, page, 4 * MiB, sizes));
    // The last bytes of the I/O address space.
    all.push_back(cut_of(0 - 5 * MiB, 0x7f00'0000'0000 - 5 * MiB, 0, 5 * MiB, sizes));
  }
  std::mt19937_64 random{20'18};
  for (int i = 0; i < 60; ++i) {
    const page_sizes sizes = i % 3 == 0 ? large_pages : i % 3 == 1 ? any_power : pc_pages;
    const std::uint64_t page = sizes.smallest();
    const auto pages = [&](std::uint64_t most) { return (random() % most) * page; };
    const std::uint64_t io = pages(1 << 20);
    const std::uint64_t host = 0x7f00'0000'0000 + pages(1 << 20);
    const std::uint64_t offset = pages(1 << 12);
    all.push_back(cut_of(io, host, offset, page + pages(2000), sizes));
  }
  return all;
}

/// The fewest pages of `sizes`, each aligned on both sides, that tile `cut`: by dynamic programming
/// over all ways to do it.
std::uint64_t fewest_pages(cutting const& cut) {
  const std::uint64_t smallest = cut.sizes.smallest();
  const std::size_t steps = cut.whole.where.size() / smallest;
  std::vector<std::uint64_t> fewest(steps + 1, std::numeric_limits<std::uint64_t>::max() - 1);
  fewest[steps] = 0;
  for (std::size_t at = steps; at-- > 0;) {
    const std::uint64_t bits =
        (cut.whole.where.first.value + at * smallest) | (cut.whole.host.value + at * smallest);
    for (std::uint64_t page = smallest; page != 0 && page <= (steps - at) * smallest; page <<= 1) {
      if (cut.sizes.has(page) && (bits & (page - 1)) == 0)
        fewest[at] = std::min(fewest[at], 1 + fewest[at + page / smallest]);
    }
  }
  return fewest[0];
}

}  // namespace

TEST_CASE_TEMPLATE("law: pieces tile a section, are counted, aligned, and the same from any border",
                   Granularity, whole_section, largest_page, fixed_block<64 * KiB>, fixed_block<MiB>,
                   fixed_block<2 * MiB>, fixed_block<GiB>, fine_below_one_mebibyte) {
  for (auto const& cut : sections()) laws::check_granularity<Granularity>(cut);
}

TEST_CASE("law: blocks of 4 KiB obey the laws wherever the IOMMU's pages are as small") {
  for (auto const& cut : sections()) {
    if (cut.sizes.smallest() == 4 * KiB) laws::check_granularity<fixed_block<4 * KiB>>(cut);
  }
}

TEST_CASE(
    "law: largest_page takes the fewest pages that there are, and each is one page of the mask") {
  for (auto const& cut : sections()) {
    CAPTURE(cut.whole.where.first.value);
    CAPTURE(cut.whole.where.size());
    CHECK(largest_page::pieces(cut.whole, cut.offset, cut.sizes) == fewest_pages(cut));
    for (auto const& piece : laws::pieces_of<largest_page>(cut)) {
      const std::uint64_t page = piece.where.size();
      REQUIRE(cut.sizes.has(page));
      REQUIRE(piece.where.first.aligned_to(page));
      REQUIRE(piece.host.aligned_to(page));
    }
  }
}

TEST_CASE(
    "law: a block smaller than the IOMMU's page, or on a grid of its own, is seen before anything "
    "is mapped") {
  const auto aligned = cut_of(0, 0x7f00'0000'0000, 0, MiB, large_pages);
  CHECK_FALSE(
      cuts_between_pages<fixed_block<4 * KiB>>(aligned.whole, aligned.offset, aligned.sizes));
  CHECK(cuts_between_pages<fixed_block<64 * KiB>>(aligned.whole, aligned.offset, aligned.sizes));

  // The block's memory begins 4 KiB into a 64 KiB page: its own grid and the IOMMU's never meet.
  const auto shifted = cut_of(0, 0x7f00'0000'0000, 60 * KiB, MiB, large_pages);
  CHECK_FALSE(
      cuts_between_pages<fixed_block<64 * KiB>>(shifted.whole, shifted.offset, shifted.sizes));
  CHECK(cuts_between_pages<whole_section>(shifted.whole, shifted.offset, shifted.sizes));
  // One block holds the whole section: nothing is cut, so nothing can be cut wrongly.
  CHECK(cuts_between_pages<fixed_block<2 * MiB>>(first_bytes(shifted.whole, 64 * KiB),
                                                 shifted.offset, shifted.sizes));
}

}  // namespace laws_granularity
