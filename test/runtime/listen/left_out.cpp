// SPDX-License-Identifier: BSL-1.0
#include <tether/listen/left_out.hpp>

#include <tether/topology/ram_block.hpp>

#include <support/must.hpp>

#include <doctest/doctest.h>

#include <cstdint>
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

}  // namespace runtime_listen_left_out
