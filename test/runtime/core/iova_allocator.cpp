// SPDX-License-Identifier: BSL-1.0
#include <tether/core/iova_allocator.hpp>

#include <support/amount.hpp>
#include <support/failing_allocation.hpp>
#include <support/must.hpp>

#include <doctest/doctest.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <random>
#include <span>
#include <string>
#include <vector>

namespace runtime_core_iova_allocator {

using namespace tether;
using tether_test::must;

namespace {

constexpr std::uint64_t page = 4 * KiB;
constexpr std::uint64_t top = std::numeric_limits<std::uint64_t>::max();
using ranges = std::vector<extent<io_address>>;

extent<io_address> bytes(std::uint64_t first, std::uint64_t size) {
  return {io_address{first}, io_address{first + (size - 1)}};
}
extent<io_address> pages(std::uint64_t first, std::uint64_t count) {
  return bytes(first * page, count * page);
}
/// An x86 machine's: below and above the window of its interrupts.
ranges ordinary() {
  return {{io_address{0}, io_address{0xfedf'ffff}},
          {io_address{0xfef0'0000}, io_address{0x7f'ffff'ffff}}};
}
iova_allocator over(ranges const& usable, std::uint64_t smallest = page) {
  return must(iova_allocator::over(usable, smallest));
}

}  // namespace

TEST_CASE("addresses come from the first place that fits, never from address 0, and come back") {
  auto all = over(ordinary());
  CHECK(all.page() == page);
  const auto one = must(all.allocate(page));
  const auto two = must(all.allocate(3 * page));
  CHECK(one == pages(1, 1));
  CHECK(two == pages(2, 3));
  must(all.release(one));
  CHECK(must(all.allocate(2 * page)) == pages(5, 2));
  CHECK(must(all.allocate(page)) == one);
  // Address 0 is there for who asks for it.
  must(all.claim(pages(0, 1)));
  must(all.release(pages(0, 1)));
  must(all.release(one));
  must(all.claim(pages(0, 2)));
}

TEST_CASE("nothing that is handed out crosses a hole, or two ranges that only meet") {
  auto all = over({pages(1, 4), pages(5, 8), pages(20, 2)});
  CHECK(all.largest_free() == 8 * page);
  CHECK(must(all.allocate(5 * page)) == pages(5, 5));
  CHECK(must(all.allocate(4 * page)) == pages(1, 4));
  CHECK(all.allocate(4 * page).error().is_errno(ENOSPC));
  CHECK(must(all.allocate(3 * page)) == pages(10, 3));
  CHECK(must(all.allocate(2 * page)) == pages(20, 2));
  CHECK(all.largest_free() == 0);
  // All free again, they are still two.
  for (auto const& one : {pages(5, 5), pages(1, 4), pages(10, 3)}) must(all.release(one));
  CHECK(all.largest_free() == 8 * page);
  CHECK(all.claim(pages(4, 2)).error().is(errc::outside_aperture));
  CHECK(all.claim(pages(12, 2)).error().is(errc::outside_aperture));
  CHECK(all.claim(pages(14, 1)).error().is(errc::outside_aperture));
  CHECK(all.claim(pages(0, 1)).error().is(errc::outside_aperture));
  must(all.claim(pages(5, 8)));
}

TEST_CASE("what is exhausted or in pieces says how much the largest piece has") {
  auto all = over({pages(1, 8)});
  std::vector<extent<io_address>> taken;
  for (int i = 0; i != 8; ++i) taken.push_back(must(all.allocate(page)));
  const auto none = all.allocate(page);
  REQUIRE(!none);
  CHECK(none.error().is_errno(ENOSPC));
  CHECK(none.error().number() == 0);
  for (std::size_t i = 0; i < 8; i += 2) must(all.release(taken[i]));
  const auto pieces = all.allocate(2 * page);
  REQUIRE(!pieces);
  CHECK(pieces.error().sentence() ==
        "allocate I/O addresses: No space left on device; the largest run of I/O addresses that is "
        "free has 4096 bytes");
  must(all.release(taken[3]));
  CHECK(must(all.allocate(3 * page)) == pages(3, 3));
}

TEST_CASE("an alignment is kept, and a run that is just long enough is found, too") {
  auto all = over({pages(1, 1023)});
  CHECK(must(all.allocate(page, 2 * MiB)) == pages(512, 1));
  CHECK(must(all.allocate(page)) == pages(1, 1));
  CHECK(all.allocate(page, 2 * MiB).error().is_errno(ENOSPC));
  CHECK(must(all.allocate(2 * page, 8 * KiB)) == pages(2, 2));
  must(all.release(pages(512, 1)));
  // Only one place is left for all of it, and nothing to spare.
  CHECK(must(all.allocate(512 * page, 2 * MiB)) == pages(512, 512));
  CHECK(all.allocate(page, 3 * KiB).error().is(errc::not_aligned));
  CHECK(must(all.allocate(page, 512)) == pages(4, 1));  // a page is the least
  auto low = over({pages(0, 4)});
  CHECK(must(low.allocate(page, 2 * page)) == pages(2, 1));
  CHECK(low.allocate(page, 4 * page).error().is_errno(ENOSPC));
}

TEST_CASE("no bytes, parts of pages and sizes beyond all addresses are refused") {
  auto all = over({extent<io_address>::everything()});
  CHECK(all.largest_free() == top);
  CHECK(all.allocate(0).error().is(errc::invalid_extent));
  CHECK(all.allocate(page - 1).error().is(errc::not_aligned));
  CHECK(all.allocate(top).error().is(errc::not_aligned));
  CHECK(all.claim({io_address{page}, io_address{0}}).error().is(errc::invalid_extent));
  CHECK(all.claim(bytes(page, 8)).error().is(errc::not_aligned));
  CHECK(all.allocate(top - page + 1, std::uint64_t{1} << 63).error().is_errno(ENOSPC));
  CHECK(must(all.allocate(std::uint64_t{1} << 63, std::uint64_t{1} << 63)) ==
        bytes(std::uint64_t{1} << 63, std::uint64_t{1} << 63));  // ends at the last address
  must(all.release(bytes(std::uint64_t{1} << 63, std::uint64_t{1} << 63)));
  CHECK(all.allocate(top - page + 1, 2 * page).error().is_errno(ENOSPC));
  // All but the first page, which ends at the last address; and all of it.
  const auto most = must(all.allocate(top - page + 1));
  CHECK(most == extent<io_address>{io_address{page}, io_address{top}});
  CHECK(all.allocate(page).error().is_errno(ENOSPC));
  must(all.release(most));
  must(all.claim(extent<io_address>::everything()));
  CHECK(all.claim(pages(7, 1)).error().is(errc::overlaps));
  must(all.release(extent<io_address>::everything()));
  auto bytewise = over({extent<io_address>::everything()}, 1);
  CHECK(must(bytewise.allocate(top)) == extent<io_address>{io_address{1}, io_address{top}});
}

TEST_CASE("only whole pages of a range are usable, up to the highest address that a device has") {
  auto ragged = over({{io_address{100}, io_address{3 * page + 5}},
                      {io_address{5 * page + 1}, io_address{6 * page}},
                      {io_address{7 * page}, io_address{7 * page + 8}},
                      {io_address{top - 5}, io_address{top}}});
  CHECK(must(ragged.allocate(2 * page)) == pages(1, 2));
  CHECK(ragged.largest_free() == 0);
  auto narrow = must(iova_allocator::over(ordinary(), page, io_address{4 * page + 9}));
  CHECK(narrow.largest_free() == 4 * page);
  CHECK(narrow.claim(pages(4, 1)).error().is(errc::outside_aperture));
  CHECK(iova_allocator::over(ordinary(), page, io_address{9}).error().is(errc::outside_aperture));
  CHECK(iova_allocator::over({}, page).error().is(errc::outside_aperture));
  CHECK(iova_allocator::over(ordinary(), 3 * KiB).error().is(errc::not_aligned));
  CHECK(iova_allocator::over(ordinary(), 0).error().is(errc::not_aligned));
  const ranges inverted{{io_address{5 * page}, io_address{page}}};
  CHECK(iova_allocator::over(inverted, page).error().is(errc::outside_aperture));
}

TEST_CASE("what is released must be what was taken, and changes nothing if it is not") {
  auto all = over(ordinary());
  const auto one = must(all.allocate(4 * page));
  for (auto const& part : {pages(1, 3), pages(2, 3), pages(1, 5), pages(2, 1)})
    CHECK(all.release(part).error().is(errc::cuts_a_mapping));
  CHECK(all.release(pages(0, 5)).error().is(errc::not_mapped));
  CHECK(all.release(bytes(0xfee0'0000, page)).error().is(errc::not_mapped));
  CHECK(all.claim(pages(4, 2)).error().is(errc::overlaps));
  CHECK(all.claim(pages(0, 2)).error().is(errc::overlaps));
  CHECK(all.claim(pages(0, 9)).error().is(errc::overlaps));
  must(all.release(one));
  CHECK(all.release(one).error().is(errc::not_mapped));
  must(all.claim(pages(0, 9)));
}

TEST_CASE("other limits leave what is taken, or are refused where they would not hold it") {
  auto all = over({extent<io_address>::everything()});
  const auto low = must(all.allocate(page));
  must(all.change_limits(ordinary(), page));
  CHECK(all.claim(bytes(0xfee0'0000, page)).error().is(errc::outside_aperture));
  CHECK(all.claim(low).error().is(errc::overlaps));
  must(all.claim(pages(16, 16)));
  CHECK(all.change_limits(ranges{pages(0, 20)}, page).error().is(errc::outside_aperture));
  CHECK(all.change_limits(ordinary(), 2 * page).error().is(errc::not_aligned));
  must(all.release(low));
  must(all.change_limits(ordinary(), 2 * page));
  CHECK(must(all.allocate(2 * page)) == pages(2, 2));
  auto narrow = must(iova_allocator::over(ordinary(), page, io_address{4 * page - 1}));
  must(narrow.change_limits(ordinary(), page));
  CHECK(narrow.largest_free() == 4 * page);
}

TEST_CASE("without memory nothing is handed out, and everything can be given back") {
  if (!tether_test::allocations_can_fail) return tether_test::cannot_fail_allocations();
  const ranges usable = ordinary();
  tether_test::failing_allocation = 1;
  CHECK(iova_allocator::over(usable, page).error().is_errno(ENOMEM));
  auto all = over(usable);
  std::vector<extent<io_address>> taken;
  taken.reserve(100);
  int refused = 0;
  while (taken.size() != 100) {
    tether_test::failing_allocation = 1;
    auto one = taken.size() % 4 < 2 ? all.allocate(page) : all.allocate(page, 4 * page);
    if (!one) {
      ++refused;
      CHECK(one.error().is_errno(ENOMEM));
      tether_test::failing_allocation = 1;
      CHECK(all.claim(pages(4000, 1)).error().is_errno(ENOMEM));
      tether_test::failing_allocation = 0;
      one = all.allocate(page);
    }
    tether_test::failing_allocation = 0;
    taken.push_back(must(std::move(one)));
  }
  CHECK(refused > 2);
  const std::uint64_t before = tether_test::allocations_made;
  for (std::size_t i = 0; i != taken.size(); ++i) must(all.release(taken[i * 37 % 100]));
  CHECK(tether_test::allocations_made == before);
  must(all.claim(ordinary()[0]));
}

TEST_CASE("it agrees with a slow model, whatever is taken and given back") {
  // Pages 0 to 119, of which some are no range's; each page's number is that of its range.
  const ranges usable{pages(0, 40), pages(40, 9), pages(60, 30), pages(101, 19)};
  const auto range_of = [&](std::uint64_t at) {
    for (std::size_t i = 0; i != usable.size(); ++i)
      if (usable[i].contains(io_address{at * page})) return static_cast<int>(i);
    return -1;
  };
  std::mt19937_64 random{tether_test::seed()};
  auto all = over(usable);
  std::array<bool, 120> taken{};
  std::vector<extent<io_address>> mine;
  const auto fits = [&](std::uint64_t at, std::uint64_t count) {
    if (at + count > taken.size() || range_of(at) < 0) return false;
    for (std::uint64_t i = at; i != at + count; ++i)
      if (taken[i] || range_of(i) != range_of(at)) return false;
    return true;
  };
  const auto mark = [&](extent<io_address> one, bool as) {
    for (std::uint64_t i = 0; i != one.size() / page; ++i) taken[one.first.value / page + i] = as;
  };
  for (std::uint64_t turn = 0; turn != tether_test::amount(20'000); ++turn) {
    const std::uint64_t count = 1 + random() % 12;
    if (random() % 3 == 0) {
      const std::uint64_t at = random() % taken.size();
      const bool may = fits(at, count);
      REQUIRE(all.claim(pages(at, count)).has_value() == may);
      if (may) mark(mine.emplace_back(pages(at, count)), true);
    } else if (random() % 2 == 0) {
      const std::uint64_t grid = std::uint64_t{1} << random() % 5;
      bool may = false;
      for (std::uint64_t at = grid; at < taken.size(); at += grid) may = may || fits(at, count);
      const auto got = all.allocate(count * page, grid * page);
      REQUIRE(got.has_value() == may);
      if (!got) continue;
      REQUIRE(got->first.value != 0);
      REQUIRE(got->first.aligned_to(grid * page));
      REQUIRE(got->size() == count * page);
      REQUIRE(fits(got->first.value / page, count));
      mark(mine.emplace_back(*got), true);
    }
    while (!mine.empty() && (mine.size() > 24 || random() % 3 == 0)) {
      std::swap(mine[random() % mine.size()], mine.back());
      must(all.release(mine.back()));
      mark(mine.back(), false);
      mine.pop_back();
    }
  }
}

}  // namespace runtime_core_iova_allocator
