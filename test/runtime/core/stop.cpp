// SPDX-License-Identifier: BSL-1.0
#include <tether/core/stop.hpp>

#include <support/stopped_by.hpp>

#include <doctest/doctest.h>

namespace runtime_core_stop {

TEST_CASE("stop ends the program with its sentence, in every build type") {
  CHECK(tether_test::stopped_by([] { tether::stop("a count fell below zero"); }) ==
        "tether: a count fell below zero\n");
}

TEST_CASE("who it is about is named on the same line, whatever the name is") {
  CHECK(tether_test::stopped_by([] { tether::stop("it is gone", "a\n'b"); }) ==
        "tether: it is gone ('a\\x0a\\x27b')\n");
  CHECK(tether_test::stopped_by([] { tether::stop("it is gone", ""); }) == "tether: it is gone\n");
}

TEST_CASE("a program that does not stop is not taken for one that did") {
  CHECK(tether_test::stopped_by([] {}) == "(it did not abort)");
}

}  // namespace runtime_core_stop
