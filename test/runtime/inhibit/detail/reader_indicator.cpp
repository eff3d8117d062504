// SPDX-License-Identifier: BSL-1.0
#include <tether/core/stop_token.hpp>
#include <tether/inhibit/detail/reader_indicator.hpp>

#include <doctest/doctest.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <functional>
#include <mutex>
#include <stop_token>
#include <thread>
#include <type_traits>
#include <utility>

namespace runtime_inhibit_detail_reader_indicator {

using namespace tether;
using namespace tether::detail;

namespace {

/// Another mutex, and one slot that all threads share.
struct recursive_mutex_parts : standard_parts {
  using mutex = std::recursive_mutex;
  static constexpr std::size_t slots = 1;
};

/// Does something after every step that a thread takes, as another thread might.
struct interrupted {
  static inline std::function<void()> with;
  static void happens() {
    if (!with) return;
    const auto now = std::exchange(with, nullptr);
    now();
    with = now;
  }
};
template <class Value>
struct interrupted_atomic : std::atomic<Value> {
  using std::atomic<Value>::atomic;
  Value load(std::memory_order order) const {
    const Value answer = std::atomic<Value>::load(order);
    interrupted::happens();
    return answer;
  }
  Value fetch_add(Value by, std::memory_order order) {
    const Value answer = std::atomic<Value>::fetch_add(by, order);
    interrupted::happens();
    return answer;
  }
  Value fetch_sub(Value by, std::memory_order order) {
    const Value answer = std::atomic<Value>::fetch_sub(by, order);
    interrupted::happens();
    return answer;
  }
  bool compare_exchange_weak(Value& expected, Value desired, std::memory_order order) {
    const bool done = std::atomic<Value>::compare_exchange_weak(expected, desired, order);
    interrupted::happens();
    return done;
  }
};
struct interrupted_parts : standard_parts {
  template <class Value>
  using atomic = interrupted_atomic<Value>;
};
static_assert(
    std::is_same_v<shared_reader_indicator, basic_shared_reader_indicator<standard_parts>>);

template <class Parts>
struct with_parts {
  typename Parts::mutex mutex;
  basic_shared_reader_indicator<Parts> reader_indicator{mutex};
};

template <class Indicator>
struct indicator_with_mutex {
  std::mutex mutex;
  Indicator reader_indicator{mutex};
};

}  // namespace

TEST_CASE_TEMPLATE(
    "a closed reader indicator lets nobody in, each kind for itself, and counts how often it was "
    "closed",
    Indicator, plain_reader_indicator, shared_reader_indicator) {
  indicator_with_mutex<Indicator> one;
  typename Indicator::ticket ticket{};
  one.reader_indicator.close(discard_kind::uncoordinated, 2);
  CHECK_FALSE(one.reader_indicator.enter(discard_kind::uncoordinated, ticket));
  REQUIRE(one.reader_indicator.enter(discard_kind::coordinated, ticket));
  one.reader_indicator.leave(discard_kind::coordinated, ticket);
  one.reader_indicator.reopen(discard_kind::uncoordinated, 1);
  CHECK_FALSE(one.reader_indicator.enter(discard_kind::uncoordinated, ticket));
  one.reader_indicator.reopen(discard_kind::uncoordinated, 1);
  REQUIRE(one.reader_indicator.enter(discard_kind::uncoordinated, ticket));
  CHECK(one.reader_indicator.entered_by_this_thread());
  one.reader_indicator.leave(discard_kind::uncoordinated, ticket);
  CHECK_FALSE(one.reader_indicator.entered_by_this_thread());
  // none at all changes nothing
  one.reader_indicator.close(discard_kind::uncoordinated, 0);
  one.reader_indicator.reopen(discard_kind::uncoordinated, 0);
  REQUIRE(one.reader_indicator.enter(discard_kind::uncoordinated, ticket));
  one.reader_indicator.leave(discard_kind::uncoordinated, ticket);
}

TEST_CASE("draining asks for the kinds that are forbidden, and no more") {
  indicator_with_mutex<shared_reader_indicator> one;
  std::unique_lock lock{one.mutex};
  const wait_limits at_once{.wait = false};
  shared_reader_indicator::ticket ticket{};
  REQUIRE(one.reader_indicator.enter(discard_kind::coordinated, ticket));
  CHECK(one.reader_indicator.drain(false, lock, at_once) == drained::yes);
  CHECK(one.reader_indicator.drain(true, lock, at_once) == drained::busy);
  lock.unlock();
  one.reader_indicator.leave(discard_kind::coordinated, ticket);
  lock.lock();
  CHECK(one.reader_indicator.drain(true, lock, at_once) == drained::yes);
}

TEST_CASE("a discard that is being refused is never taken for one that runs") {
  with_parts<interrupted_parts> one;
  basic_shared_reader_indicator<interrupted_parts>::ticket ticket{};
  one.reader_indicator.close(discard_kind::uncoordinated, 1);
  std::unique_lock lock{one.mutex, std::defer_lock};
  unsigned asked = 0;
  unsigned busy = 0;
  interrupted::with = [&] {
    ++asked;
    lock.lock();
    one.reader_indicator.close(discard_kind::uncoordinated, 1);
    if (one.reader_indicator.drain(false, lock, {.wait = false}) != drained::yes) ++busy;
    one.reader_indicator.reopen(discard_kind::uncoordinated, 1);
    lock.unlock();
  };
  const bool granted = one.reader_indicator.enter(discard_kind::uncoordinated, ticket);
  interrupted::with = nullptr;
  CHECK_FALSE(granted);
  CHECK(asked != 0);
  CHECK(busy == 0);
}

TEST_CASE(
    "a drain that must wait ends with the deadline, with the stop token, or with the last "
    "discard") {
  indicator_with_mutex<shared_reader_indicator> one;
  shared_reader_indicator::ticket ticket{};
  REQUIRE(one.reader_indicator.enter(discard_kind::uncoordinated, ticket));
  {
    std::unique_lock lock{one.mutex};
    CHECK(one.reader_indicator.drain(false, lock, wait_until{std::chrono::steady_clock::now()}) ==
          drained::timed_out);
    CHECK(lock.owns_lock());
    std::stop_source stop;
    stop.request_stop();
    const auto token = stop.get_token();
    CHECK(one.reader_indicator.drain(false, lock, wait_unless_stopped{&token}) ==
          drained::cancelled);
    CHECK(lock.owns_lock());
  }
  std::thread waiter{[&] {
    std::unique_lock lock{one.mutex};
    CHECK(one.reader_indicator.drain(false, lock, {}) == drained::yes);
  }};
  one.reader_indicator.leave(discard_kind::uncoordinated, ticket);
  waiter.join();
}

TEST_CASE(
    "a reader indicator with fewer slots than threads have numbers finds one for each of them") {
  with_parts<recursive_mutex_parts> one;
  std::size_t entered = 0;
  for (std::size_t i = 0; i < 2 * shared_reader_indicator::slots; ++i) {
    std::thread{[&] {
      basic_shared_reader_indicator<recursive_mutex_parts>::ticket ticket{};
      if (!one.reader_indicator.enter(discard_kind::uncoordinated, ticket)) return;
      std::unique_lock lock{one.mutex};
      if (one.reader_indicator.drain(false, lock, {.wait = false}) == drained::busy) entered += 1;
      lock.unlock();
      one.reader_indicator.leave(discard_kind::uncoordinated, ticket);
    }}.join();
  }
  CHECK(entered == 2 * shared_reader_indicator::slots);
}

TEST_CASE("a reader indicator of other parts waits with their mutex, and lets it go meanwhile") {
  with_parts<recursive_mutex_parts> one;
  basic_shared_reader_indicator<recursive_mutex_parts>::ticket ticket{};
  REQUIRE(one.reader_indicator.enter(discard_kind::uncoordinated, ticket));
  std::thread waiter{[&] {
    std::unique_lock lock{one.mutex};
    CHECK(one.reader_indicator.drain(false, lock, {}) == drained::yes);
    CHECK(lock.owns_lock());
  }};
  one.reader_indicator.leave(discard_kind::uncoordinated, ticket);
  waiter.join();
  CHECK(sizeof(basic_shared_reader_indicator<recursive_mutex_parts>) <
        sizeof(shared_reader_indicator));
}

TEST_CASE("on one thread whoever is inside is the caller, and waiting for oneself is told") {
  indicator_with_mutex<plain_reader_indicator> one;
  std::unique_lock lock{one.mutex};
  plain_reader_indicator::ticket ticket{};
  REQUIRE(one.reader_indicator.enter(discard_kind::coordinated, ticket));
  CHECK(one.reader_indicator.drain(false, lock, {}) == drained::yes);
  CHECK(one.reader_indicator.drain(true, lock, {}) == drained::own_permit);
  one.reader_indicator.leave(discard_kind::coordinated, ticket);
  CHECK(one.reader_indicator.drain(true, lock, {}) == drained::yes);
}

}  // namespace runtime_inhibit_detail_reader_indicator
