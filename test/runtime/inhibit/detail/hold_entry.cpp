// SPDX-License-Identifier: BSL-1.0
#include <tether/inhibit/detail/hold_entry.hpp>

#include <tether/inhibit/detail/ledger.hpp>

#include <support/stopped_by.hpp>

#include <doctest/doctest.h>

#include <string>
#include <type_traits>

namespace runtime_inhibit_detail_hold_entry {

using namespace tether;

static_assert(!std::is_copy_constructible_v<holder> && !std::is_move_constructible_v<holder>, "the gate links it where it lies");
static_assert(as_holding(hold_kind::any) == holding::any_hold && as_holding(hold_kind::uncoordinated) == holding::uncoordinated_hold);
static_assert(as_holding(requirement_kind::any) == holding::any_requirement);
static_assert(as_holding(requirement_kind::coordinated) == holding::coordinated_requirement);

TEST_CASE("a holder keeps its name in place, cut at 47 bytes, and starts with nothing") {
  const std::string name(60, 'x');
  const holder one{name};
  CHECK(one.name() == std::string(47, 'x'));
  CHECK(one.count() == 0);
  CHECK(holder{""}.name().empty());
  CHECK(holder{"nic"}.name() == "nic");
}

TEST_CASE("everything that can be held has a name of its own") {
  CHECK(std::string{name_of(holding::any_hold)} == "any hold");
  CHECK(std::string{name_of(holding::uncoordinated_hold)} == "uncoordinated hold");
  CHECK(std::string{name_of(holding::any_requirement)} == "any requirement");
  CHECK(std::string{name_of(holding::coordinated_requirement)} == "coordinated requirement");
  CHECK(std::string{name_of(holding::suspension)} == "suspension");
}

TEST_CASE("a holder that is destroyed while it counts stops the program, and leaves no link behind") {
  const std::string said = tether_test::stopped_by([] {
    ledger book;
    { holder one{"one"}; book.add(one, holding::any_hold, 1); }
    book.for_each([](holder_info const&) {});
  });
  CHECK(said.find("tether[I14]") != std::string::npos);
  CHECK(tether_test::stopped_by([] {
          ledger book;
          holder one{"one"};
          book.add(one, holding::any_hold, 1);
          book.subtract(one, 1);
        }) == "(it did not abort)");
}

}  // namespace runtime_inhibit_detail_hold_entry
