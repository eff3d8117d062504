// SPDX-License-Identifier: BSL-1.0
#include <tether/topology/detail/region_table.hpp>

#include <support/must.hpp>
#include <support/placed.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <random>
#include <vector>

namespace runtime_topology_detail_region_table {

using namespace tether;
using namespace tether::detail;
using detail::placed_region;
using detail::region_table;

namespace {

constexpr std::uint64_t top = std::numeric_limits<std::uint64_t>::max();

extent<guest_address> between(std::uint64_t first, std::uint64_t last) {
  return {guest_address{first}, guest_address{last}};
}

region_id place(region_table& table, std::uint64_t first, std::uint64_t last) {
  return tether_test::placed(table, region::mmio("mmio", last - first + 1), between(first, last),
                             0);
}

std::vector<std::uint64_t> found_in(region_table const& table, extent<guest_address> within) {
  std::vector<std::uint64_t> ids;
  table.for_each_in(within, [&](placed_region const& one) { ids.push_back(one.order); });
  std::sort(ids.begin(), ids.end());
  return ids;
}

}  // namespace

TEST_CASE("extents are joined where they overlap or meet, up to the last byte there is") {
  std::vector<extent<guest_address>> some{between(20, 29), between(0, 4),   between(5, 9),
                                          between(25, 40), between(11, 12), between(top, top)};
  detail::coalesce(some);
  CHECK(some == std::vector{between(0, 9), between(11, 12), between(20, 40), between(top, top)});
}

TEST_CASE("a look-up by address finds exactly the regions that overlap") {
  std::mt19937_64 random{7};
  region_table table;
  std::vector<std::pair<region_id, extent<guest_address>>> all;
  for (int i = 0; i < 500; ++i) {
    // Sizes of every order of magnitude, at both ends of the space too.
    const std::uint64_t size_bits = random() % 64;
    const std::uint64_t first = i % 7 == 0 ? 0 : random() >> (random() % 64);
    const std::uint64_t room = top - first;
    const std::uint64_t span = std::min(room, random() >> size_bits);
    const auto where = between(i % 11 == 0 ? top - span : first, i % 11 == 0 ? top : first + span);
    all.emplace_back(tether_test::placed(table, region::mmio("one", 1), where, 0), where);
  }
  all.emplace_back(tether_test::placed(table, region::mmio("everything", 1), between(0, top), 0),
                   between(0, top));
  for (int i = 0; i < 2000; ++i) {
    const std::uint64_t first = random() >> (random() % 64);
    const auto within = between(first, first + std::min(top - first, random() >> (random() % 64)));
    std::vector<std::uint64_t> expected;
    for (auto const& [id, where] : all)
      if (where.overlaps(within)) expected.push_back(id.value);
    REQUIRE(found_in(table, within) == expected);
  }
}

TEST_CASE("an id is never used again, not even that of a region whose placing was undone") {
  region_table table;
  const auto first = place(table, 0, 9);
  table.roll_back_to(0);
  CHECK(table.find(first) == nullptr);
  const auto second = place(table, 0, 9);
  CHECK_FALSE(first == second);
  table.remove(second);
  table.keep();
  CHECK(table.find(second) == nullptr);
  CHECK_FALSE(place(table, 0, 9) == second);
  CHECK(table.find(region_id{}) == nullptr);
}

TEST_CASE("edits are rolled back to a mark in reverse order, and the table is as it was then") {
  region_table table;
  const auto kept = place(table, 0, 99);
  const auto moved = place(table, 200, 299);
  table.keep();
  table.set_flag(kept, &placed_region::read_only, true);
  const auto mark = table.mark();
  table.move(moved, between(1000, 1099));
  table.move(moved, between(2000, 2099));
  table.set_flag(moved, &placed_region::enabled, false);
  table.remove(moved);
  table.remove(kept);
  const auto fresh = place(table, 0, 49);
  CHECK(found_in(table, between(0, top)) == std::vector{fresh.value});
  table.roll_back_to(mark);
  CHECK(table.find(fresh) == nullptr);
  CHECK(table.find(moved)->where == between(200, 299));
  CHECK(table.find(moved)->enabled);
  CHECK(table.find(kept)->read_only);
  CHECK(found_in(table, between(200, 200)) == std::vector{moved.value});
  CHECK(found_in(table, between(1000, 2099)).empty());
  table.roll_back_to(0);
  CHECK_FALSE(table.find(kept)->read_only);
  CHECK(found_in(table, between(0, top)) == std::vector{kept.value, moved.value});
}

TEST_CASE("edits say which addresses they touched, and logging writes touches none") {
  region_table table;
  const auto one = place(table, 0, 99);
  const auto two = place(table, 100, 199);
  CHECK(table.changed_extents() == std::vector{between(0, 199)});
  table.keep();
  CHECK(table.changed_extents().empty());
  table.set_flag(one, &placed_region::dirty_log, true);
  table.set_flag(one, &placed_region::read_only, false);  // it was not
  CHECK(table.changed_extents().empty());
  table.set_flag(one, &placed_region::read_only, true);
  CHECK(table.changed_extents() == std::vector{between(0, 99)});
  table.keep();
  table.move(two, between(500, 599));
  CHECK(table.changed_extents() == std::vector{between(100, 199), between(500, 599)});
}

TEST_CASE("a removed region keeps its memory until the edit is kept") {
  auto block = tether_test::must(ram_block::allocate("ram", 64 * KiB));
  region_table table;
  const auto id = tether_test::placed(table, region::ram(block), between(0, 64 * KiB - 1), 0);
  table.keep();
  table.remove(id);
  CHECK(block.backing().references() == 1);
  table.keep();
  CHECK(block.backing().references() == 0);
}

}  // namespace runtime_topology_detail_region_table
