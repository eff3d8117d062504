// SPDX-License-Identifier: BSL-1.0
#include <tether/core/detail/say_once.hpp>

#include <support/stopped_by.hpp>

#include <doctest/doctest.h>

namespace runtime_core_detail_say_once {

TEST_CASE("one sentence is said in a process, and it goes on") {
  const auto ended = tether_test::in_a_child([] {
    tether::detail::say_once("something stays");
    tether::detail::say_once("and more");
    return 7;
  });
  CHECK(ended.said == "tether: something stays\n");
  CHECK(ended.exit_code == 7);
}

}  // namespace runtime_core_detail_say_once
