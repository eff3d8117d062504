// SPDX-License-Identifier: BSL-1.0
#include <tether/backend/detail/iova_table.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <map>
#include <numeric>
#include <random>
#include <vector>

namespace runtime_backend_detail_iova_table {

using namespace tether;
using namespace tether::detail;

namespace {
mapping at(std::uint64_t first, std::uint64_t size) {
  return {{io_address{first}, io_address{first + (size - 1)}}, host_address{first * 2}};
}
extent<io_address> bytes(std::uint64_t first, std::uint64_t size) { return at(first, size).where; }

/// Counts how often a row's payload is moved or copied.
struct counting {
  counting() noexcept = default;
  counting(counting const&) noexcept { ++moves; }
  counting& operator=(counting const&) noexcept { return ++moves, *this; }
  counting(counting&&) noexcept { ++moves; }
  counting& operator=(counting&&) noexcept { return ++moves, *this; }
  ~counting() = default;
  static inline std::uint64_t moves = 0;
};

/// An order of the numbers below `count`.
using order = std::vector<std::uint64_t> (*)(std::uint64_t count);
std::vector<std::uint64_t> upwards(std::uint64_t count) {
  std::vector<std::uint64_t> all(count);
  std::iota(all.begin(), all.end(), 0);
  return all;
}
std::vector<std::uint64_t> downwards(std::uint64_t count) {
  auto all = upwards(count);
  std::ranges::reverse(all);
  return all;
}
std::vector<std::uint64_t> from_both_ends(std::uint64_t count) {
  auto all = upwards(count);
  for (std::uint64_t i = 0; i < count; ++i) all[i] = i % 2 == 0 ? i / 2 : count - 1 - i / 2;
  return all;
}
std::vector<std::uint64_t> from_the_middle(std::uint64_t count) {
  auto all = from_both_ends(count);
  std::ranges::reverse(all);
  return all;
}
std::vector<std::uint64_t> shuffled(std::uint64_t count) {
  auto all = upwards(count);
  std::ranges::shuffle(all, std::mt19937_64{count});
  return all;
}
constexpr order orders[] = {upwards, downwards, from_both_ends, from_the_middle, shuffled};

/// How many rows are moved by `count` insertions in one order and as many removals in another.
std::uint64_t moved_rows(std::uint64_t count, order plug, order unplug) {
  iova_table<counting> table;
  counting::moves = 0;
  for (const std::uint64_t page : plug(count)) REQUIRE(table.insert(at(page * 8192, 4096)));
  for (const std::uint64_t page : unplug(count))
    table.erase(table.whole(bytes(page * 8192, 4096)).value());
  CHECK(table.empty());
  return counting::moves;
}
}  // namespace

TEST_CASE("four times the mappings move four times the rows, in whatever order they come and go") {
  for (const order plug : orders) {
    for (const order unplug : orders) {
      const auto few = moved_rows(2048, plug, unplug);
      const auto many = moved_rows(4 * 2048, plug, unplug);
      CHECK(many <= 5 * few);
      CHECK(many <= 4 * 2048 * 80);
    }
  }
}

TEST_CASE("an interval table that mappings come to and go from at all times stays proportional") {
  // Unplugging and plugging at random keeps splitting and joining; per change it moves the same.
  const auto moves_of = [](std::uint64_t count) {
    std::mt19937_64 random{count};
    iova_table<counting> table;
    std::vector<bool> there(2 * count);
    counting::moves = 0;
    for (std::uint64_t change = 0; change != 8 * count; ++change) {
      const std::uint64_t page = random() % there.size();
      if (there[page]) table.erase(table.whole(bytes(page * 8192, 4096)).value());
      if (!there[page]) REQUIRE(table.insert(at(page * 8192, 4096)));
      there[page] = !there[page];
    }
    return counting::moves;
  };
  CHECK(moves_of(4 * 1024) <= 5 * moves_of(1024));
}

TEST_CASE("an interval table finds what a sorted map finds, after any insertions and removals") {
  constexpr std::uint64_t pages = 256;
  constexpr std::uint64_t page = 4096;
  std::mt19937_64 random{20181107};
  iova_table<std::uint64_t> table;
  std::map<std::uint64_t, std::uint64_t> reference;  // first page -> pages
  for (int round = 0; round < 4000; ++round) {
    const std::uint64_t first = random() % pages;
    const std::uint64_t count = 1 + random() % 6;
    auto next = reference.upper_bound(first);
    const bool hits_before =
        next != reference.begin() && std::prev(next)->first + std::prev(next)->second > first;
    const bool hits_behind = next != reference.end() && next->first < first + count;
    const auto inserted = table.insert(at(first * page, count * page), first);
    REQUIRE(inserted.has_value() == !(hits_before || hits_behind));
    if (inserted) reference[first] = count;
    if (!inserted) CHECK(inserted.error().is(errc::overlaps));
    if (round % 2 == 0 && !reference.empty()) {
      const auto victim =
          std::next(reference.begin(), static_cast<std::ptrdiff_t>(random() % reference.size()));
      const auto run = table.whole(bytes(victim->first * page, victim->second * page));
      REQUIRE(run);
      REQUIRE(run->to == table.next(run->from));
      table.erase(*run);
      reference.erase(victim);
    }
    REQUIRE(table.size() == reference.size());
    const std::uint64_t probe = random() % (pages * page);
    const auto above = reference.upper_bound(probe / page);
    const bool mapped = above != reference.begin() &&
                        std::prev(above)->first + std::prev(above)->second > probe / page;
    const auto row = table.find(io_address{probe});
    REQUIRE((row != table.none) == mapped);
    if (mapped) {
      CHECK(table.payload(row) == std::prev(above)->first);
      CHECK(table[row].host_at(io_address{probe}).value ==
            std::prev(above)->first * page * 2 + probe % page +
                (probe / page - std::prev(above)->first) * page);
    }
  }
}

TEST_CASE("an interval table can hold all of the address space and its last byte") {
  iova_table<> table;
  REQUIRE(table.insert({extent<io_address>::everything(), host_address{0}}));
  CHECK(table.find(io_address{0}) == 0);
  CHECK(table.find(io_address{std::numeric_limits<std::uint64_t>::max()}) == 0);
  CHECK(table.whole(extent<io_address>::everything()));
  CHECK(table.whole(bytes(0, 4096)).error().is(errc::cuts_a_mapping));
  table.clear();
  CHECK(table.empty());
  const std::uint64_t last_page = 0 - std::uint64_t{4096};
  REQUIRE(table.insert(at(last_page, 4096)));
  REQUIRE(table.insert(at(0, 4096)));
  CHECK(table.covering(bytes(last_page, 4096)));
  // The last page does not meet the first one.
  CHECK(!table.covering(extent<io_address>::everything()));
  CHECK(table.whole(extent<io_address>::everything()).error().is(errc::not_mapped));
}

TEST_CASE("an extent counts as covered only where there is no gap in it") {
  iova_table<> table;
  for (const std::uint64_t first : {0x1000u, 0x2000u, 0x4000u})
    REQUIRE(table.insert(at(first, 0x1000)));
  const auto run = table.covering(bytes(0x1800, 0x1000));
  REQUIRE(run);
  CHECK(run->from == 0);
  CHECK(run->to == 2);
  CHECK(!table.covering(bytes(0x800, 0x1000)));
  CHECK(!table.covering(bytes(0x2800, 0x1000)));
  CHECK(!table.covering(bytes(0x4800, 0x1000)));
  CHECK(table.touches(bytes(0x2fff, 1)));
  CHECK(!table.touches(bytes(0x3000, 0x1000)));
  CHECK(table.touches(bytes(0, 0x10000)));
}

TEST_CASE(
    "an extent that ends before it begins is covered by nothing, touches nothing, and is not put "
    "in") {
  iova_table<> table;
  REQUIRE(table.insert(at(0x1000, 0x1000)));
  REQUIRE(table.insert(at(0x2000, 0x1000)));
  for (const extent<io_address> inside_out :
       {extent<io_address>{io_address{0x1800}, io_address{0x17ff}},
        extent<io_address>{io_address{0x2000}, io_address{0x1fff}},
        extent<io_address>{io_address{0x2800}, io_address{0x1000}},
        extent<io_address>{io_address{0x1000}, io_address{0xfff}},
        extent<io_address>{io_address{0x8000}, io_address{0x7fff}}}) {
    CAPTURE(inside_out.first.value);
    CHECK_FALSE(table.covering(inside_out));
    CHECK_FALSE(table.touches(inside_out));
    CHECK(table.whole(inside_out).error().is(errc::invalid_extent));
    const auto put_in = table.insert({inside_out, host_address{0x1000}});
    REQUIRE_FALSE(put_in);
    CHECK(put_in.error().is(errc::invalid_extent));
    CHECK(table.size() == 2);
  }
}

}  // namespace runtime_backend_detail_iova_table
