// SPDX-License-Identifier: BSL-1.0
#include <tether/inhibit/holder.hpp>

#include <doctest/doctest.h>

#include <string>
#include <type_traits>

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
