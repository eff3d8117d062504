// SPDX-License-Identifier: BSL-1.0
#include <tether/listen/left_out.hpp>

#include <tether/topology/ram_block.hpp>

#include <support/amount.hpp>
#include <support/failing_allocation.hpp>
#include <support/must.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <cstdint>
#include <new>
#include <random>
#include <set>
#include <string>
#include <type_traits>
#include <vector>

namespace runtime_listen_left_out {

using namespace tether;
using tether_test::must;

namespace {

section bar(std::uint64_t first, memory_backing* memory = nullptr) {
  return {.where = {guest_address{first}, guest_address{first + 0xfff}},
          .memory = memory,
          .kind = region_kind::ram_device,
          .name = "bar"};
}
std::vector<std::uint64_t> places(left_out_list const& list) {
  std::vector<std::uint64_t> all;
  for (left_out_section const& one : list.all()) all.push_back(one.what.where.first.value);
  return all;
}
const error why{"map", errc::over_budget};

}  // namespace

TEST_CASE("a description owns its name and says what a device might have done") {
  static_assert(std::is_trivially_copyable_v<section_description>);
  std::string name = "flash";
  section one = bar(0x1000);
  one.kind = region_kind::rom;
  one.name = name;
  const section_description said = describe(one);
  name = "?????";
  CHECK(said.name.view() == "flash");
  CHECK(said.where == one.where);
  CHECK(said.kind == region_kind::rom);
  CHECK(said.rights == access::read);
}

TEST_CASE(
    "what a change left out is dropped by taking it back, and what stood is there, also at the "
    "same "
    "place") {
  left_out_list list;
  list.begin_change();
  CHECK(list.add(bar(0x2000), why));
  CHECK(list.add(bar(0x1000), why));
  CHECK_FALSE(list.was_left_out(bar(0x1000)));
  CHECK(list.added(bar(0x1000)) != nullptr);
  list.keep();
  list.begin_change();
  CHECK(list.was_left_out(bar(0x1000)));
  CHECK_FALSE(list.was_left_out(bar(0x3000)));
  section longer = bar(0x1000);
  longer.where.last = guest_address{0x2fff};
  CHECK_FALSE(list.was_left_out(longer));
  CHECK(list.added(bar(0x1000)) == nullptr);
  CHECK(list.add(bar(0x1000), error{"map", errc::not_aligned}));
  CHECK(list.add(bar(0x3000), why));
  list.roll_back();
  CHECK(places(list) == std::vector<std::uint64_t>{0x1000, 0x2000});
  CHECK(list.all()[0].why.is(errc::over_budget));
}

TEST_CASE("the one that stood goes, not the one that came to its place") {
  left_out_list list;
  list.begin_change();
  CHECK(list.add(bar(0x1000), why));
  CHECK(list.add(bar(0x2000), why));
  list.keep();
  list.begin_change();
  CHECK(list.add(bar(0x1000), error{"map", errc::not_aligned}));
  list.remove(bar(0x1000));
  list.remove(bar(0x3000));
  list.remove(bar(0x1000));
  REQUIRE(list.added(bar(0x1000)) != nullptr);
  list.keep();
  CHECK(places(list) == std::vector<std::uint64_t>{0x1000, 0x2000});
  CHECK(list.all()[0].why.is(errc::not_aligned));
  CHECK(list.size() == 2);
  list.clear();
  CHECK(list.all().empty());
  CHECK(list.size() == 0);
}

TEST_CASE("a rollback restores what its change removed, once, and no other change does") {
  left_out_list list;
  list.begin_change();
  CHECK(list.add(bar(0x1000), why));
  list.keep();
  list.begin_change();
  CHECK_FALSE(list.restore(bar(0x1000)));
  list.remove(bar(0x1000));
  CHECK(list.add(bar(0x1000), error{"map", errc::not_aligned}));
  list.keep();
  list.begin_change(true);
  list.remove(bar(0x1000));
  CHECK_FALSE(list.restore(bar(0x2000)));
  CHECK(list.restore(bar(0x1000)));
  CHECK_FALSE(list.restore(bar(0x1000)));
  list.keep();
  REQUIRE(list.size() == 1);
  CHECK(list.all()[0].why.is(errc::over_budget));
  list.begin_change();
  list.remove(bar(0x1000));
  list.keep();
  list.begin_change();
  CHECK_FALSE(list.restore(bar(0x1000)));
  list.keep();
  CHECK(list.size() == 0);
}

TEST_CASE(
    "a copy that is brought up to date is as the list, whatever has changed, also out of memory") {
  left_out_list list;
  left_out_copy copy;
  const auto is_as_the_list = [&] {
    const auto all = list.all();
    return std::ranges::equal(all, copy, [](left_out_section const& a, auto const& b) {
      return b.first == a.what.where.first && b.second.what.where == a.what.where &&
             b.second.why.code() == a.why.code();
    });
  };
  std::mt19937_64 random{tether_test::seed()};
  std::set<std::uint64_t> there;
  for (int turn = 0; turn != 2000; ++turn) {
    list.begin_change();
    std::vector<std::uint64_t> came;
    for (auto edits = random() % 6; edits-- != 0;) {
      const std::uint64_t at = random() % 24;
      if (there.erase(at) != 0) list.remove(bar(at * 0x1000));
      else if (std::ranges::find(came, at) == came.end()) came.push_back(at);
    }
    for (const auto at : came)
      CHECK(list.add(bar(at * 0x1000), random() % 2 == 0 ? why : error{"map", errc::not_aligned}));
    there.insert(came.begin(), came.end());
    list.keep();
    if (random() % 64 == 0) list.clear(), there.clear();
    if (random() % 3 == 0) continue;  // several changes in one
    tether_test::failing_allocation = tether_test::allocations_can_fail ? random() % 4 : 0;
    try {
      list.update(copy);
    } catch (std::bad_alloc const&) {
      continue;
    }
    tether_test::failing_allocation = 0;
    REQUIRE(is_as_the_list());
  }
  tether_test::failing_allocation = 0;
  list.update(copy);
  CHECK(is_as_the_list());
}

}  // namespace runtime_listen_left_out
