// SPDX-License-Identifier: BSL-1.0
#include <tether/inhibit/turnstile.hpp>

#include <doctest/doctest.h>

#include <chrono>
#include <mutex>
#include <stop_token>
#include <thread>

using namespace tether;
using namespace tether::detail;

namespace {

template <class Turnstile>
struct turnstile_with_mutex {
  std::mutex mutex;
  Turnstile turnstile{mutex};
};

}  // namespace

TEST_CASE_TEMPLATE("a closed turnstile lets nobody in, each kind for itself, and counts how often it was closed", Turnstile, plain_turnstile,
                   shared_turnstile) {
  turnstile_with_mutex<Turnstile> one;
  typename Turnstile::ticket ticket{};
  one.turnstile.close(discard_kind::uncoordinated, 2);
  CHECK_FALSE(one.turnstile.enter(discard_kind::uncoordinated, ticket));
  REQUIRE(one.turnstile.enter(discard_kind::coordinated, ticket));
  one.turnstile.leave(discard_kind::coordinated, ticket);
  one.turnstile.reopen(discard_kind::uncoordinated, 1);
  CHECK_FALSE(one.turnstile.enter(discard_kind::uncoordinated, ticket));
  one.turnstile.reopen(discard_kind::uncoordinated, 1);
  REQUIRE(one.turnstile.enter(discard_kind::uncoordinated, ticket));
  CHECK(one.turnstile.entered_by_this_thread());
  one.turnstile.leave(discard_kind::uncoordinated, ticket);
  CHECK_FALSE(one.turnstile.entered_by_this_thread());
}

TEST_CASE("draining asks for the kinds that are forbidden, and no more") {
  turnstile_with_mutex<shared_turnstile> one;
  std::unique_lock lock{one.mutex};
  const patience at_once{.wait = false};
  shared_turnstile::ticket ticket{};
  REQUIRE(one.turnstile.enter(discard_kind::coordinated, ticket));
  CHECK(one.turnstile.drain(false, lock, at_once) == drained::yes);
  CHECK(one.turnstile.drain(true, lock, at_once) == drained::busy);
  lock.unlock();
  one.turnstile.leave(discard_kind::coordinated, ticket);
  lock.lock();
  CHECK(one.turnstile.drain(true, lock, at_once) == drained::yes);
}

TEST_CASE("a drain that must wait ends with the deadline, with the stop token, or with the last discard") {
  turnstile_with_mutex<shared_turnstile> one;
  shared_turnstile::ticket ticket{};
  REQUIRE(one.turnstile.enter(discard_kind::uncoordinated, ticket));
  {
    std::unique_lock lock{one.mutex};
    CHECK(one.turnstile.drain(false, lock, {.until = std::chrono::steady_clock::now()}) == drained::timed_out);
    CHECK(lock.owns_lock());
    std::stop_source stop;
    stop.request_stop();
    patience how{};
    const auto token = stop.get_token();
    how.stop = &token;
    CHECK(one.turnstile.drain(false, lock, how) == drained::cancelled);
    how.until = std::chrono::steady_clock::now() + std::chrono::hours{1};
    CHECK(one.turnstile.drain(false, lock, how) == drained::cancelled);
  }
  std::thread waiter{[&] {
    std::unique_lock lock{one.mutex};
    CHECK(one.turnstile.drain(false, lock, {}) == drained::yes);
  }};
  one.turnstile.leave(discard_kind::uncoordinated, ticket);
  waiter.join();
}

TEST_CASE("on one thread whoever is inside is the caller, and waiting for oneself is told") {
  turnstile_with_mutex<plain_turnstile> one;
  std::unique_lock lock{one.mutex};
  plain_turnstile::ticket ticket{};
  REQUIRE(one.turnstile.enter(discard_kind::coordinated, ticket));
  CHECK(one.turnstile.drain(false, lock, {}) == drained::yes);
  CHECK(one.turnstile.drain(true, lock, {}) == drained::own_permit);
  one.turnstile.leave(discard_kind::coordinated, ticket);
  CHECK(one.turnstile.drain(true, lock, {}) == drained::yes);
}
