// SPDX-License-Identifier: BSL-1.0
#include <tether/inhibit/detail/hold_entry.hpp>

#include <tether/inhibit/detail/ledger.hpp>

#include <support/stopped_by.hpp>

#include <doctest/doctest.h>

#include <string>
#include <type_traits>

namespace runtime_inhibit_detail_hold_entry {

using namespace tether;
using namespace tether::detail;

static_assert(!std::is_copy_constructible_v<hold_entry> &&
                  !std::is_move_constructible_v<hold_entry>,
              "the gate links it where it lies");
static_assert(entry_kind_of(hold_kind::any) == entry_kind::any_hold &&
              entry_kind_of(hold_kind::uncoordinated) == entry_kind::uncoordinated_hold);
static_assert(entry_kind_of(requirement_kind::any) == entry_kind::any_requirement);
static_assert(entry_kind_of(requirement_kind::coordinated) == entry_kind::coordinated_requirement);

TEST_CASE("a holder keeps its name in place, cut at 47 bytes, and starts with nothing") {
  const std::string name(60, 'x');
  const hold_entry one{name};
  CHECK(one.name() == std::string(44, 'x') + "...");
  CHECK(one.count() == 0);
  CHECK(hold_entry{""}.name().empty());
  CHECK(hold_entry{"nic"}.name() == "nic");
}

TEST_CASE("everything that can be held has a name of its own") {
  CHECK(std::string{name_of(entry_kind::any_hold)} == "any hold");
  CHECK(std::string{name_of(entry_kind::uncoordinated_hold)} == "uncoordinated hold");
  CHECK(std::string{name_of(entry_kind::any_requirement)} == "any requirement");
  CHECK(std::string{name_of(entry_kind::coordinated_requirement)} == "coordinated requirement");
  CHECK(std::string{name_of(entry_kind::suspension)} == "suspension");
}

TEST_CASE(
    "a holder that is destroyed while it counts stops the program, and leaves no link behind") {
  const std::string said = tether_test::stopped_by([] {
    ledger book;
    {
      hold_entry one{"one"};
      book.add(one, entry_kind::any_hold, 1);
    }
    book.for_each([](holder_info const&) {});
  });
  CHECK(said.find("tether[I14]") != std::string::npos);
  CHECK(tether_test::stopped_by([] {
          ledger book;
          hold_entry one{"one"};
          book.add(one, entry_kind::any_hold, 1);
          book.subtract(one, 1);
        }) == "(it did not abort)");
}

}  // namespace runtime_inhibit_detail_hold_entry
