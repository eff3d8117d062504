// SPDX-License-Identifier: BSL-1.0
#include <tether/listen/progress.hpp>

#include <doctest/doctest.h>

#include <stop_token>
#include <type_traits>

namespace runtime_listen_progress {

using namespace tether;

static_assert(progress_monitor<unmonitored> && std::is_empty_v<unmonitored> &&
              unmonitored::keep_going({}));
static_assert(!progress_monitor<int>);

TEST_CASE(
    "an attended operation is told each piece until it is stopped, and not the one at which it "
    "stops") {
  std::stop_source stop;
  int told = 0;
  monitored watch{stop.get_token(), [&told](mapping const&) noexcept { ++told; }};
  static_assert(progress_monitor<decltype(watch)>);
  CHECK(watch.keep_going({}));
  CHECK(watch.keep_going({}));
  stop.request_stop();
  CHECK_FALSE(watch.keep_going({}));
  CHECK(told == 2);
}

}  // namespace runtime_listen_progress
