// SPDX-License-Identifier: BSL-1.0
#include <tether/listen/progress.hpp>

#include <doctest/doctest.h>

#include <stop_token>
#include <type_traits>

namespace runtime_listen_progress {

using namespace tether;

static_assert(attendant<unattended> && std::is_empty_v<unattended> && unattended::go_on({}));
static_assert(!attendant<int>);

TEST_CASE("an attended operation is told each piece until it is stopped, and not the one at which it stops") {
  std::stop_source stop;
  int told = 0;
  attended watch{stop.get_token(), [&told](mapping const&) noexcept { ++told; }};
  static_assert(attendant<decltype(watch)>);
  CHECK(watch.go_on({}));
  CHECK(watch.go_on({}));
  stop.request_stop();
  CHECK_FALSE(watch.go_on({}));
  CHECK(told == 2);
}

}  // namespace runtime_listen_progress
