// SPDX-License-Identifier: BSL-1.0
#include <tether/core/detail/say.hpp>

#include <support/stopped_by.hpp>

#include <doctest/doctest.h>

#include <string>
#include <string_view>

namespace runtime_core_detail_say {

namespace {

std::string said_of(std::string_view who, std::string_view shown_as = {}) {
  return tether_test::in_a_child([=] { tether::detail::say("it stays", who, shown_as); }).said;
}

}  // namespace

TEST_CASE("a sentence is a line, whoever it is about") {
  CHECK(said_of("") == "tether: it stays\n");
  CHECK(said_of("ram") == "tether: it stays ('ram')\n");
  CHECK(said_of("ram", "low\n") == "tether: it stays ('ram', shown as 'low\\x0a')\n");
  CHECK(said_of("", "low") == "tether: it stays\n");
  CHECK(said_of("a\nb") == "tether: it stays ('a\\x0ab')\n");
}

}  // namespace runtime_core_detail_say
