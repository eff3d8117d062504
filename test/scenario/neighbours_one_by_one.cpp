// SPDX-License-Identifier: BSL-1.0
// Memory that grows page by page is one section in the end: what each page costs must not depend on
// how long that section is already. Counted in bytes, since what a commit flattens or copies, it
// allocates.
#include <tether/topology/address_space.hpp>
#include <tether/topology/ram_block.hpp>
#include <tether/topology/region.hpp>

#include <support/failing_allocation.hpp>
#include <support/must.hpp>

#include <doctest/doctest.h>

#include <cstdint>
#include <deque>

namespace scenario_neighbours_one_by_one {

using namespace tether;
using tether_test::must;

namespace {

constexpr std::uint64_t page = 4 * KiB;

/// Regions of one page each that lie in one block as they lie in the guest, so neighbours merge.
struct mergeable_neighbours {
  ram_block block;
  address_space guest;
  std::deque<region_id> ids;  // ascending

  explicit mergeable_neighbours(std::uint64_t most)
      : block{must(ram_block::allocate("ram", most * page))} {}

  [[nodiscard]] region one(std::uint64_t at) {
    return region::ram(block, block_offset{at * page}, page);
  }
  [[nodiscard]] static guest_address place_of(std::uint64_t at) { return guest_address{at * page}; }
  [[nodiscard]] bool is_one_section(std::uint64_t first, std::uint64_t count) const {
    const auto view = guest.view();
    return view->size() == 1 && view->begin()->offset == block_offset{first * page} &&
           view->begin()->where ==
               extent<guest_address>{place_of(first), place_of(first + count) - std::uint64_t{1}};
  }
};

/// Bytes that `count` calls of `step(n)` allocate.
template <class Step>
std::uint64_t bytes_for(std::uint64_t count, Step step) {
  const std::uint64_t before = tether_test::bytes_allocated;
  for (std::uint64_t i = 0; i < count; ++i) step(i);
  return tether_test::bytes_allocated - before;
}

struct costs {
  std::uint64_t behind, unplugged_from_the_front, in_front, unplugged_from_behind, at_both_ends;
};

costs costs_of(std::uint64_t count) {
  costs all{};
  {
    mergeable_neighbours ram{count};
    all.behind = bytes_for(count, [&](std::uint64_t i) {
      ram.ids.push_back(must(ram.guest.place(ram.one(i), ram.place_of(i))));
    });
    CHECK(ram.is_one_section(0, count));
    all.unplugged_from_the_front = bytes_for(count - 1, [&](std::uint64_t) {
      REQUIRE(ram.guest.remove(ram.ids.front()));
      ram.ids.pop_front();
    });
    CHECK(ram.is_one_section(count - 1, 1));
  }
  {
    mergeable_neighbours ram{count};
    all.in_front = bytes_for(count, [&](std::uint64_t i) {
      const std::uint64_t at = count - 1 - i;
      ram.ids.push_front(must(ram.guest.place(ram.one(at), ram.place_of(at))));
    });
    CHECK(ram.is_one_section(0, count));
    all.unplugged_from_behind = bytes_for(count - 1, [&](std::uint64_t) {
      REQUIRE(ram.guest.remove(ram.ids.back()));
      ram.ids.pop_back();
    });
    CHECK(ram.is_one_section(0, 1));
  }
  {
    // Two edits a commit, with the whole section that both merge with between them.
    mergeable_neighbours ram{3 * count};
    auto all_at_once = ram.guest.begin();
    for (std::uint64_t i = count; i < 2 * count; ++i)
      REQUIRE(all_at_once.place(ram.one(i), ram.place_of(i)));
    REQUIRE(all_at_once.commit());
    all.at_both_ends = bytes_for(count, [&](std::uint64_t i) {
      auto change = ram.guest.begin();
      for (const std::uint64_t at : {count - 1 - i, 2 * count + i})
        REQUIRE(change.place(ram.one(at), ram.place_of(at)));
      REQUIRE(change.commit());
    });
    CHECK(ram.is_one_section(0, 3 * count));
  }
  return all;
}

}  // namespace

TEST_CASE("mergeable neighbours cost the same each, however many they are") {
  if (!tether_test::allocations_can_fail) return tether_test::cannot_fail_allocations();
  const costs small = costs_of(250);
  const costs large = costs_of(1000);
  // Four times as many take four times as much. A square takes sixteen times.
  CHECK(large.behind <= 5 * small.behind);
  CHECK(large.unplugged_from_the_front <= 5 * small.unplugged_from_the_front);
  CHECK(large.in_front <= 5 * small.in_front);
  CHECK(large.unplugged_from_behind <= 5 * small.unplugged_from_behind);
  CHECK(large.at_both_ends <= 5 * small.at_both_ends);
}

}  // namespace scenario_neighbours_one_by_one
