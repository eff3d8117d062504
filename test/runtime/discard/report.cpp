// SPDX-License-Identifier: BSL-1.0
#include <tether/discard/report.hpp>

#include <doctest/doctest.h>

#include <cerrno>
#include <sstream>
#include <string_view>

namespace runtime_discard_report {

using namespace tether;

TEST_CASE("reports add up, one by one and together") {
  discard_report first;
  CHECK(first.adds_up());
  first.requested = 6;
  CHECK_FALSE(first.adds_up());
  first.discarded = first.inhibited = first.not_ram = first.partial = first.returned = 1;
  CHECK_FALSE(first.adds_up());
  first.fail(1, error::from_errno("discard", EINVAL));
  CHECK(first.adds_up());
  first.completed = 3;
  first.calls = 2;

  discard_report both = first + first;
  CHECK(both.adds_up());
  CHECK(both.requested == 12);
  CHECK(both.discarded == 2);
  CHECK(both.inhibited == 2);
  CHECK(both.not_ram == 2);
  CHECK(both.partial == 2);
  CHECK(both.errors == 2);
  CHECK(both.returned == 2);
  CHECK(both.completed == 6);
  CHECK(both.calls == 4);
}

TEST_CASE("a report says what would let inhibited frames go, the first that it was told") {
  discard_report one;
  one.requested = 3;
  one.inhibit(2, "divide it");
  one.inhibit(1, "wait");
  CHECK(one.inhibited == 3);
  CHECK(one.adds_up());
  std::ostringstream text;
  text << discard_report{} + one;
  CHECK(text.str() == "3 requested: 3 inhibited; divide it");
  discard_report two;
  two.inhibit(1, "wait");
  CHECK(std::string_view{(one + two).advice} == "divide it");
}

TEST_CASE("a report keeps the first refusal") {
  discard_report one;
  discard_report two;
  CHECK_FALSE((one + two).first_error);
  two.fail(3, error::from_errno("discard", ENOMEM));
  two.fail(1, error::from_errno("discard", EINVAL));
  CHECK(two.errors == 4);
  one += two;
  REQUIRE(one.first_error);
  CHECK(one.first_error->is_errno(ENOMEM));
  discard_report three;
  three.fail(1, error::from_errno("discard", EIO));
  CHECK((one + three).first_error->is_errno(ENOMEM));
}

}  // namespace runtime_discard_report
