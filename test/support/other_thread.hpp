// SPDX-License-Identifier: BSL-1.0
// What another thread does meanwhile, where a test says that it must wait.
#pragma once

#include <atomic>
#include <chrono>
#include <thread>

namespace tether_test {

/// Begins `act()` on another thread, and gives it time enough to be through if it does not wait.
template <class Act>
[[nodiscard]] std::thread begun_and_given_time(Act act) {
  std::atomic<bool> begun{false};
  std::thread other{[act, &begun]() mutable {
    begun = true;
    act();
  }};
  while (!begun) std::this_thread::yield();
  std::this_thread::sleep_for(std::chrono::milliseconds{20});
  return other;
}

}  // namespace tether_test
