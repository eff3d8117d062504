// SPDX-License-Identifier: BSL-1.0
#include <tether/topology/detail/flatten.hpp>

#include <support/must.hpp>
#include <support/placed.hpp>
#include <support/reference_map.hpp>

#include <doctest/doctest.h>

#include <cstdint>
#include <limits>
#include <random>
#include <vector>

namespace runtime_topology_detail_flatten {

using namespace tether;
using namespace tether::detail;
using detail::region_table;
using tether_test::must;
using tether_test::reference_map;

namespace {

constexpr std::uint64_t page = reference_map::page;

extent<guest_address> everything() { return extent<guest_address>::everything(); }

std::vector<section> rendered(region_table const& table,
                              extent<guest_address> within = everything()) {
  detail::section_run run;
  detail::flatten(table, within, run);
  REQUIRE(run.sections.size() == run.owners.size());
  for (std::size_t i = 0; i < run.size(); ++i)
    CHECK(run.owners[i]->name().view() == run.sections[i].name);
  return run.sections;
}

region_id place(region_table& table, region const& what, std::uint64_t at, int priority = 0) {
  return tether_test::placed(
      table, what, extent<guest_address>::of(guest_address{at}, what.size()).value(), priority);
}

}  // namespace

TEST_CASE(
    "the highest priority is seen, and what it hides shows on both sides with the right offset") {
  auto block = must(ram_block::allocate("ram", 16 * page));
  region_table table;
  place(table, region::mmio("uart", 2 * page), 4 * page, 1);
  place(table, region::ram(block), 0);
  const auto seen = rendered(table);
  REQUIRE(seen.size() == 3);
  CHECK(seen[0].where.size() == 4 * page);
  CHECK(seen[1].kind == region_kind::mmio);
  CHECK(seen[1].memory == nullptr);
  CHECK(seen[2].where.first == guest_address{6 * page});
  CHECK(seen[2].offset == block_offset{6 * page});
  CHECK(seen[2].host() == block.host() + 6 * page);
}

TEST_CASE("of two regions of the same priority the one placed later is seen") {
  auto one = must(ram_block::allocate("one", page));
  auto two = must(ram_block::allocate("two", page));
  region_table table;
  place(table, region::ram(one), 0);
  place(table, region::ram(two), 0);
  const auto seen = rendered(table);
  REQUIRE(seen.size() == 1);
  CHECK(seen[0].memory == &two.backing());
}

TEST_CASE("neighbours are one section exactly where memory, offset and attributes carry on") {
  auto block = must(ram_block::allocate("ram", 16 * page));
  auto other = must(ram_block::allocate("other", 16 * page));
  const auto first = region::ram(block, block_offset{0}, 4 * page);
  const auto second = region::ram(block, block_offset{4 * page}, 4 * page);
  const auto sections_of = [](region const& a, region const& b, std::uint64_t gap = 0) {
    region_table table;
    place(table, a, 0);
    place(table, b, a.size() + gap);
    return rendered(table).size();
  };
  CHECK(sections_of(first, second) == 1);
  CHECK(sections_of(first, second.named("another name")) == 1);
  CHECK(sections_of(first, second.dirty_log()) == 1);
  CHECK(sections_of(first, second, 1) == 2);
  CHECK(sections_of(second, first) == 2);
  CHECK(sections_of(first, first) == 2);
  CHECK(sections_of(first, region::ram(other, block_offset{4 * page}, 4 * page)) == 2);
  CHECK(sections_of(first, second.read_only()) == 2);
  CHECK(sections_of(first, second.unmergeable()) == 2);
  CHECK(sections_of(first.unmergeable(), second) == 2);
  CHECK(sections_of(first.unmergeable(), second.unmergeable()) == 2);
  CHECK(sections_of(first, region::rom(block, block_offset{4 * page}, 4 * page)) == 2);
  CHECK(sections_of(region::mmio("a", page), region::mmio("a", page)) == 2);
}

TEST_CASE("a region stays one section where lower ones begin and end behind it") {
  auto block = must(ram_block::allocate("ram", 16 * page));
  region_table table;
  place(table, region::ram(block).unmergeable(), 0, 5);
  place(table, region::mmio("hidden", page), 3 * page);
  place(table, region::mmio("half hidden", 2 * page), 15 * page);
  const auto seen = rendered(table);
  REQUIRE(seen.size() == 2);
  CHECK(seen[0].where.size() == 16 * page);
  CHECK(seen[1].where ==
        extent<guest_address>{guest_address{16 * page}, guest_address{17 * page - 1}});
}

TEST_CASE("the last byte of the address space is a byte like any other") {
  constexpr std::uint64_t top = std::numeric_limits<std::uint64_t>::max();
  region_table table;
  tether_test::placed(table, region::mmio("all", 0), everything(), 0);
  auto seen = rendered(table);
  REQUIRE(seen.size() == 1);
  CHECK(seen[0].where.is_everything());
  place(table, region::mmio("end", 16), top - 15, 1);
  place(table, region::mmio("start", 16), 0, 1);
  seen = rendered(table);
  REQUIRE(seen.size() == 3);
  CHECK(seen[2].where == extent<guest_address>{guest_address{top - 15}, guest_address{top}});
  CHECK(seen[1].where == extent<guest_address>{guest_address{16}, guest_address{top - 16}});
  CHECK(rendered(table, {guest_address{top}, guest_address{top}}).size() == 1);
}

TEST_CASE("whatever is placed, the sections are those that asking every page gives") {
  auto block = must(ram_block::allocate("ram", 64 * page));
  auto other = must(ram_block::allocate("other", 64 * page));
  std::mt19937_64 random{20};
  for (int round = 0; round < 300; ++round) {
    region_table table;
    reference_map reference{64};
    for (int i = 0; i < 12; ++i) {
      const std::uint64_t pages = 1 + random() % 20;
      const std::uint64_t first = random() % (64 - pages);
      // Mostly each address of its own block, so that neighbours do merge.
      const std::uint64_t offset = random() % 4 != 0 ? first : random() % (64 - pages);
      region what = random() % 5 == 0 ? region::mmio("mmio", pages * page)
                                      : region::ram(random() % 3 != 0 ? block : other,
                                                    block_offset{offset * page}, pages * page);
      if (random() % 4 == 0) what = what.read_only();
      if (random() % 6 == 0) what = what.unmergeable();
      const int priority = static_cast<int>(random() % 3);
      reference.place(place(table, what, first * page, priority), what, first, priority);
    }
    const auto expected = reference.sections();
    const auto seen = rendered(table);
    REQUIRE_MESSAGE(seen == expected, tether_test::drawn(seen), " instead of ",
                    tether_test::drawn(expected));
  }
}

}  // namespace runtime_topology_detail_flatten
