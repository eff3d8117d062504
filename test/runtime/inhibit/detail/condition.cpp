// SPDX-License-Identifier: BSL-1.0
#include <tether/core/stop_token.hpp>
#include <tether/inhibit/detail/condition.hpp>

#include <doctest/doctest.h>

#include <atomic>
#include <chrono>
#include <mutex>
#include <ratio>
#include <stop_token>
#include <thread>

namespace runtime_inhibit_detail_condition {

using tether::detail::condition;

namespace {

/// Counts how often a waiter let it go.
struct counted_lock {
  bool held = true;
  unsigned unlocked = 0;
  void lock() { held = true; }
  void unlock() {
    held = false;
    ++unlocked;
  }
};

/// Its hour comes after a few looks, whatever the machine does.
struct stepping_clock {
  using duration = std::chrono::duration<long long, std::milli>;
  using rep = duration::rep;
  using period = duration::period;
  using time_point = std::chrono::time_point<stepping_clock>;
  static inline long long looks = 0;
  static time_point now() noexcept { return time_point{duration{looks++}}; }
};

}  // namespace

TEST_CASE("what holds already is not waited for, and the lock stays") {
  condition changed;
  counted_lock lock;
  changed.wait(lock, [] { return true; });
  CHECK(changed.wait(lock, std::stop_token{}, [] { return true; }));
  CHECK(changed.wait_until(lock, stepping_clock::time_point{}, [] { return true; }));
  CHECK(lock.held);
  CHECK(lock.unlocked == 0);
}

TEST_CASE("a notification between a look and the sleep after it is not lost") {
  condition changed;
  counted_lock lock;
  bool looked = false;
  const auto notified_while_it_looks = [&] {
    CHECK(lock.held);
    if (looked) return true;
    looked = true;
    changed.notify_all();
    return false;
  };
  changed.wait(lock, notified_while_it_looks);
  CHECK(lock.held);
  CHECK(lock.unlocked == 1);
  looked = false;
  CHECK(changed.wait(lock, std::stop_token{}, notified_while_it_looks));
  CHECK(lock.unlocked == 2);
}

TEST_CASE("a stop request ends a wait: made before, between a look and the sleep, or during it") {
  condition changed;
  counted_lock lock;
  std::stop_source stop;
  CHECK_FALSE(changed.wait(lock, stop.get_token(), [&] {
    stop.request_stop();
    return false;
  }));
  CHECK(lock.unlocked == 1);
  CHECK_FALSE(changed.wait(lock, stop.get_token(), [] { return false; }));
  CHECK(lock.unlocked == 1);
  CHECK(changed.wait(lock, stop.get_token(), [] { return true; }));

  std::mutex mutex;
  std::stop_source later;
  std::atomic<bool> waits{false};
  std::jthread stopper{[&] {
    waits.wait(false);
    { const std::lock_guard until_it_sleeps{mutex}; }
    later.request_stop();
  }};
  std::unique_lock mine{mutex};
  CHECK_FALSE(changed.wait(mine, later.get_token(), [&] {
    waits = true;
    waits.notify_one();
    return false;
  }));
  CHECK(mine.owns_lock());
}

TEST_CASE("a deadline ends a wait, by the clock that it is of") {
  condition changed;
  counted_lock lock;
  stepping_clock::looks = 0;
  const stepping_clock::time_point third{stepping_clock::duration{3}};
  CHECK_FALSE(changed.wait_until(lock, third, [] { return false; }));
  CHECK(stepping_clock::looks == 4);
  CHECK(lock.unlocked == 3);
  CHECK_FALSE(changed.wait_until(lock, stepping_clock::time_point::min(), [] { return false; }));
  CHECK(lock.unlocked == 3);
}

TEST_CASE("all who wait are woken, each time") {
  condition changed;
  std::mutex mutex;
  unsigned turn = 0;
  constexpr unsigned players = 3;
  constexpr unsigned turns = 300;
  const auto play = [&](unsigned me) {
    for (;;) {
      std::unique_lock lock{mutex};
      changed.wait(lock, [&] { return turn % players == me || turn >= turns; });
      if (turn >= turns) return;
      ++turn;
      lock.unlock();
      changed.notify_all();
    }
  };
  {
    std::jthread one{play, 0U};
    std::jthread two{play, 1U};
    std::jthread three{play, 2U};
  }
  CHECK(turn == turns);
}

}  // namespace runtime_inhibit_detail_condition
