// SPDX-License-Identifier: BSL-1.0
#include <tether/topology/detail/view_builder.hpp>

#include <support/must.hpp>
#include <support/placed.hpp>
#include <support/shared_sections.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <cstdint>
#include <random>
#include <string>
#include <utility>
#include <vector>

namespace runtime_topology_detail_view_builder {

using namespace tether;
using namespace tether::detail;
using detail::region_table;
using tether_test::must;
using tether_test::sections_shared;

namespace {

constexpr std::uint64_t page = 4096;

extent<guest_address> pages(std::uint64_t first, std::uint64_t count) {
  return extent<guest_address>::of(guest_address{first * page}, count * page).value();
}

flat_view from_nothing(region_table const& table) {
  return detail::next_view(flat_view{}, table, {extent<guest_address>::everything()});
}

std::vector<section> listed(flat_view const& view) { return {view.begin(), view.end()}; }

void check_chunks(flat_view const& view) {
  std::size_t total = 0;
  const auto chunks = tether_test::chunks_of(view);
  for (auto const& one : chunks) {
    auto const& chunk = *one;
    REQUIRE(chunk.size() > 0);
    REQUIRE(chunk.size() <= detail::section_chunk::full);
    REQUIRE(chunk.owners().size() == chunk.size());
    // Small ones would add up: all but a lone one are a quarter full at least.
    if (chunks.size() > 1) REQUIRE(chunk.size() >= detail::section_chunk::full / 4);
    total += chunk.size();
  }
  REQUIRE(total == view.size());
  std::size_t in_groups = 0;
  for (auto const& group : view.groups()) {
    const std::size_t size = group->chunks().size();
    REQUIRE(size > 0);
    REQUIRE(size <= detail::chunk_group::capacity);
    if (view.groups().size() > 1) REQUIRE(size >= detail::chunk_group::capacity / 4);
    in_groups += group->sections();
  }
  REQUIRE(in_groups == view.size());
}

std::size_t groups_not_shared(flat_view const& one, flat_view const& other) {
  return static_cast<std::size_t>(std::ranges::count_if(one.groups(), [&](auto const& group) {
    return std::ranges::find(other.groups(), group) == other.groups().end();
  }));
}

/// 100,000 sections of one page each, with a gap behind every one.
struct large_guest {
  static constexpr std::uint64_t sections = 100'000;
  ram_block block = must(ram_block::allocate("ram", sections* page));
  region_table table;
  std::vector<region_id> ids;
  flat_view view;

  large_guest() {
    for (std::uint64_t i = 0; i < sections; ++i)
      ids.push_back(tether_test::placed(table, region::ram(block, block_offset{i * page}, page),
                                        pages(2 * i, 1), 0));
    view = from_nothing(table);
    table.keep();
  }
};

}  // namespace

TEST_CASE("one change among 100,000 sections copies a bounded number of them") {
  large_guest guest;
  REQUIRE(guest.view.size() == large_guest::sections);
  check_chunks(guest.view);
  const auto copied_by = [&](auto edit, std::size_t places = 1) {
    edit();
    const auto next = detail::next_view(guest.view, guest.table, guest.table.changed_extents());
    check_chunks(next);
    const auto copied = next.size() - sections_shared(next, guest.view);
    if (copied != 0) CHECK(groups_not_shared(next, guest.view) <= 2 * places);
    guest.table.keep();
    guest.view = next;
    return copied;
  };
  constexpr std::size_t few = 3 * detail::section_chunk::full;
  CHECK(copied_by([&] { guest.table.remove(guest.ids[50'000]); }) <= few);
  CHECK(guest.view.size() == large_guest::sections - 1);
  CHECK(copied_by([&] {
          tether_test::placed(guest.table, region::mmio("new", page), pages(30'001, 1), 0);
        }) <= few);
  CHECK(copied_by([&] {
          guest.table.set_flag(guest.ids[0], &detail::placed_region::read_only, true);
        }) <= few);
  CHECK(copied_by([&] { guest.table.remove(guest.ids[99'999]); }) <= few);
  CHECK(copied_by([&] { guest.table.move(guest.ids[10], pages(180'001, 1)); }, 2) <= 2 * few);
  CHECK(copied_by([&] {
          tether_test::placed(guest.table, region::mmio("hidden", page), pages(1'000, 1), -1);
        }) == 0);
  const auto whole = from_nothing(guest.table);
  CHECK(std::equal(whole.begin(), whole.end(), guest.view.begin(), guest.view.end()));
}

TEST_CASE("an overlay that hides 100,000 sections and goes again brings all of them back") {
  large_guest guest;
  const auto before = guest.view;
  const auto id = tether_test::placed(guest.table, region::mmio("overlay", 200'000 * page),
                                      pages(0, 200'000), 1);
  const auto hidden = detail::next_view(before, guest.table, guest.table.changed_extents());
  CHECK(hidden.size() == 1);
  guest.table.keep();
  guest.table.remove(id);
  const auto again = detail::next_view(hidden, guest.table, guest.table.changed_extents());
  CHECK(std::equal(again.begin(), again.end(), before.begin(), before.end()));
  check_chunks(again);
}

TEST_CASE("what an overlay leaves of a chunk never stays behind as a small chunk of its own") {
  large_guest guest;
  for (std::uint64_t from = 0; from < 1200; from += 60) {
    tether_test::placed(guest.table, region::mmio("overlay", 1800 * page), pages(2 * from, 1800),
                        1);
    const auto next = detail::next_view(guest.view, guest.table, guest.table.changed_extents());
    guest.table.roll_back_to(0);
    check_chunks(next);
    CHECK(next.size() == large_guest::sections - 900 + 1);
    CHECK(next.size() - sections_shared(next, guest.view) <= 4 * detail::section_chunk::full);
  }
}

TEST_CASE("a view that was updated step by step is the view rendered from nothing") {
  constexpr std::uint64_t most = 98'304;
  auto block = must(ram_block::allocate("ram", most * page));
  std::mt19937_64 random{99};
  region_table table;
  flat_view view;
  std::vector<region_id> ids;
  const auto random_region = [&] {
    // Many small ones, so that there are several groups; now and then one that hides hundreds.
    const std::uint64_t size = random() % 50 == 0 ? 1 + random() % 600 : 1 + random() % 3;
    const std::uint64_t first = random() % (most - size);
    region what = random() % 4 == 0 ? region::mmio("mmio", size * page)
                                    : region::ram(block, block_offset{first * page}, size * page);
    if (random() % 3 == 0) what = what.unmergeable();
    return std::pair{what, pages(first, size)};
  };
  std::size_t most_groups = 0;
  std::size_t fewest_groups = ~std::size_t{0};
  region_id overlay{};  // hides whole groups for a step
  for (int step = 0; step < 500; ++step) {
    const auto edits = step == 0 ? 30'000 : 1 + random() % 3;
    if (overlay != region_id{}) table.remove(std::exchange(overlay, {}));
    if (step != 0 && random() % 8 == 0) {
      const std::uint64_t size = 1 + random() % (most - 1);
      overlay = tether_test::placed(table, region::mmio("overlay", size * page),
                                    pages(random() % (most - size), size), 9);
    }
    for (std::uint64_t i = 0; i < edits; ++i) {
      const auto choice = random() % 10;
      if (ids.size() < 24'000 || choice < 4) {
        const auto [what, where] = random_region();
        ids.push_back(tether_test::placed(table, what, where, static_cast<int>(random() % 4)));
      } else {
        auto& id = ids[random() % ids.size()];
        if (choice < 7) {
          table.remove(id);
          id = ids.back();
          ids.pop_back();
        } else if (choice == 7) {
          const auto size = table.find(id)->where.size() / page;
          table.move(id, pages(random() % (most - size), size));
        } else {
          table.set_flag(
              id, choice == 8 ? &detail::placed_region::enabled : &detail::placed_region::read_only,
              random() % 2 == 0);
        }
      }
    }
    view = detail::next_view(view, table, table.changed_extents());
    table.keep();
    check_chunks(view);
    most_groups = std::max(most_groups, view.groups().size());
    fewest_groups = std::min(fewest_groups, view.groups().size());
    if (step % 20 == 0) {
      const auto whole = from_nothing(table);
      REQUIRE(listed(view) == listed(whole));
      auto theirs = whole.begin();
      for (auto const& one : view) REQUIRE(one.name == (theirs++)->name);
    }
  }
  CHECK(most_groups > 3);
  CHECK(fewest_groups == 1);
}

TEST_CASE("where most neighbours merge, too, a view updated by steps is the one from nothing") {
  constexpr std::uint64_t most = 400;
  auto block = must(ram_block::allocate("ram", most * page));
  std::mt19937_64 random{7};
  region_table table;
  flat_view view;
  std::vector<region_id> ids;
  const auto name = [&] { return std::string(1, static_cast<char>('a' + random() % 26)); };
  for (int step = 0; step < 2000; ++step) {
    for (auto edits = 1 + random() % 5; edits > 0; --edits) {
      const std::uint64_t size = random() % 8 == 0 ? 1 + random() % 60 : 1 + random() % 3;
      const std::uint64_t first = random() % (most - size);
      const auto choice = random() % 10;
      if (ids.size() < 150 || choice < 3) {
        region what = random() % 8 == 0
                          ? region::mmio(name(), size * page)
                          : region::ram(block, block_offset{first * page}, size * page);
        if (random() % 16 == 0) what = what.unmergeable();
        ids.push_back(tether_test::placed(table, what.named(name()), pages(first, size),
                                          static_cast<int>(random() % 3)));
        continue;
      }
      auto& id = ids[random() % ids.size()];
      if (choice < 7) {
        table.remove(id);
        id = ids.back();
        ids.pop_back();
      } else if (choice == 7) {
        const auto length = table.find(id)->where.size() / page;
        table.move(id, pages(random() % (most - length), length));
      } else {
        table.set_flag(
            id, choice == 8 ? &detail::placed_region::enabled : &detail::placed_region::read_only,
            random() % 4 == 0);
      }
    }
    view = detail::next_view(view, table, table.changed_extents());
    table.keep();
    const auto whole = from_nothing(table);
    REQUIRE(listed(view) == listed(whole));
    auto theirs = whole.begin();
    for (auto at = flat_view::position{}; at != view.end_position(); at = view.after(at)) {
      REQUIRE(view.at(at).name == theirs->name);
      // what keeps a name alive is what has it
      REQUIRE(view.owner_at(at)->name().view().data() == view.at(at).name.data());
      ++theirs;
    }
  }
}

TEST_CASE("neighbours merge at both ends of the address space") {
  constexpr std::uint64_t last_page = ~std::uint64_t{0} / page;
  auto block = must(ram_block::allocate("ram", 4 * page));
  region_table table;
  flat_view view;
  for (const auto& [at, offset] :
       {std::pair{std::uint64_t{0}, 0U}, {1, 1}, {last_page - 1, 2}, {last_page, 3}}) {
    tether_test::placed(table, region::ram(block, block_offset{offset * page}, page),
                        {guest_address{at * page}, guest_address{at * page + (page - 1)}}, 0);
    view = detail::next_view(view, table, table.changed_extents());
    table.keep();
    REQUIRE(listed(view) == listed(from_nothing(table)));
  }
  CHECK(view.size() == 2);
}

TEST_CASE("a view keeps the memory that it shows, and only that") {
  auto shown = must(ram_block::allocate("shown", page));
  auto hidden = must(ram_block::allocate("hidden", page));
  region_table table;
  const auto a = tether_test::placed(table, region::ram(hidden), pages(0, 1), 0);
  const auto b = tether_test::placed(table, region::ram(shown), pages(0, 1), 0);
  {
    const auto view = from_nothing(table);
    table.remove(a);
    table.remove(b);
    table.keep();
    CHECK(shown.backing().references() == 1);
    CHECK(hidden.backing().references() == 0);
    CHECK(view.begin()->name == "shown");
  }
  CHECK(shown.backing().references() == 0);
}

}  // namespace runtime_topology_detail_view_builder
