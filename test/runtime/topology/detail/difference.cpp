// SPDX-License-Identifier: BSL-1.0
#include <tether/topology/detail/difference.hpp>
#include <tether/topology/detail/view_builder.hpp>

#include <support/must.hpp>
#include <support/placed.hpp>
#include <support/reference_map.hpp>

#include <doctest/doctest.h>

#include <cstdint>
#include <random>
#include <vector>

namespace runtime_topology_detail_difference {

using namespace tether;
using namespace tether::detail;
using detail::region_table;
using tether_test::missing;
using tether_test::must;

namespace {

constexpr std::uint64_t page = 4096;

extent<guest_address> pages(std::uint64_t first, std::uint64_t count) {
  return extent<guest_address>::of(guest_address{first * page}, count * page).value();
}

std::vector<section> listed(flat_view const& view) { return {view.begin(), view.end()}; }

}  // namespace

TEST_CASE("a view differs from itself and from its like in nothing") {
  auto block = must(ram_block::allocate("ram", 16 * page));
  region_table table;
  tether_test::placed(table, region::ram(block), pages(0, 16), 0);
  const auto one = detail::next_view(flat_view{}, table, {pages(0, 16)});
  const auto like = detail::next_view(flat_view{}, table, {pages(0, 16)});
  CHECK(difference::between(one, one).empty());
  CHECK(difference::between(one, like).empty());
  CHECK(difference::between(flat_view{}, one).additions == listed(one));
  CHECK(difference::between(one, flat_view{}).removals == listed(one));
}

TEST_CASE("other rights at the same place are a removal and an addition") {
  auto block = must(ram_block::allocate("ram", 16 * page));
  region_table table;
  const auto id = tether_test::placed(table, region::ram(block), pages(0, 16), 0);
  const auto before = detail::next_view(flat_view{}, table, {pages(0, 16)});
  table.set_flag(id, &detail::placed_region::read_only, true);
  const auto after = detail::next_view(before, table, {pages(0, 16)});
  const auto change = difference::between(before, after);
  CHECK(change.removals == listed(before));
  CHECK(change.additions == listed(after));
}

TEST_CASE("however views share their chunks, the difference is what comparing everything finds") {
  auto block = must(ram_block::allocate("ram", 4096 * page));
  std::mt19937_64 random{5};
  region_table table;
  flat_view view;
  std::vector<region_id> ids;
  for (int step = 0; step < 400; ++step) {
    const auto edits = step == 0 ? 1200 : 1 + random() % 4;
    for (std::uint64_t i = 0; i < edits; ++i) {
      if (ids.size() < 1000 || random() % 2 == 0) {
        const std::uint64_t size = random() % 40 == 0 ? 300 : 1 + random() % 3;
        const std::uint64_t first = random() % (4096 - size);
        ids.push_back(
            tether_test::placed(table,
                                region::ram(block, block_offset{first * page}, size * page)
                                    .unmergeable(random() % 2 == 0),
                                pages(first, size), static_cast<int>(random() % 3)));
      } else {
        auto& id = ids[random() % ids.size()];
        table.remove(id);
        id = ids.back();
        ids.pop_back();
      }
    }
    const auto next = detail::next_view(view, table, table.changed_extents());
    table.keep();
    const auto change = difference::between(view, next);
    const auto old_sections = listed(view);
    const auto new_sections = listed(next);
    REQUIRE(change.removals == missing(old_sections, new_sections));
    REQUIRE(change.additions == missing(new_sections, old_sections));
    view = next;
  }
}

}  // namespace runtime_topology_detail_difference
