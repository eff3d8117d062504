// SPDX-License-Identifier: BSL-1.0
#include <mutation/lockstep.hpp>

TEST_CASE("devices: container and world agree") {
  tether_test::lockstep::compare_both<tether::attach_unit::device>();
}
