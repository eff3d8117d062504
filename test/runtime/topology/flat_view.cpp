// SPDX-License-Identifier: BSL-1.0
#include <tether/topology/detail/view_builder.hpp>
#include <tether/topology/flat_view.hpp>

#include <support/must.hpp>
#include <support/placed.hpp>
#include <support/shared_sections.hpp>

#include <doctest/doctest.h>

#include <cstdint>
#include <iterator>
#include <limits>

namespace runtime_topology_flat_view {

using namespace tether;
using tether_test::must;
using tether_test::sections_shared;

static_assert(std::forward_iterator<flat_view::iterator>);

namespace {

flat_view view_of(detail::region_table const& table) {
  return detail::next_view(flat_view{}, table, {extent<guest_address>::everything()});
}

}  // namespace

TEST_CASE("an empty view has nothing anywhere") {
  const flat_view view;
  CHECK(view.empty());
  CHECK(view.begin() == view.end());
  CHECK(view.find(guest_address{0}) == nullptr);
  CHECK(view.find(guest_address{std::numeric_limits<std::uint64_t>::max()}) == nullptr);
}

TEST_CASE("an address finds the section that it lies in, and a gap none, across all chunks") {
  detail::region_table table;
  for (std::uint64_t i = 0; i < 2000; ++i)
    tether_test::placed(table, region::mmio("one", 10),
                        {guest_address{100 + i * 16}, guest_address{100 + i * 16 + 9}}, 0);
  const auto view = view_of(table);
  REQUIRE(tether_test::chunks_of(view).size() > 2);
  std::uint64_t i = 0;
  for (auto const& one : view.sections()) {
    CHECK(view.find(one.where.first) == &one);
    CHECK(view.find(one.where.last) == &one);
    CHECK(view.find(one.where.first - 1) == nullptr);
    CHECK(view.find(one.where.last + 1) == nullptr);
    CHECK(one.where.first == guest_address{100 + i++ * 16});
  }
  CHECK(i == 2000);
  CHECK(view.size() == 2000);
  CHECK(sections_shared(view, view) == 2000);
  CHECK(sections_shared(view, view_of(table)) == 0);
}

TEST_CASE("the last byte of the space is found") {
  detail::region_table table;
  tether_test::placed(table, region::mmio("all", 0), extent<guest_address>::everything(), 0);
  const auto view = view_of(table);
  CHECK(view.find(guest_address{std::numeric_limits<std::uint64_t>::max()}) == &*view.begin());
  CHECK(view.find(guest_address{0}) == &*view.begin());
}

}  // namespace runtime_topology_flat_view
