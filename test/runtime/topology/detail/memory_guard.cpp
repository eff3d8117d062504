// SPDX-License-Identifier: BSL-1.0
#include <tether/topology/detail/memory_guard.hpp>

#include <doctest/doctest.h>

#include <atomic>
#include <thread>

namespace runtime_topology_detail_memory_guard {

using namespace tether;
using namespace tether::detail;
using detail::memory_guard;

namespace {

constexpr gate_id one{1};
constexpr gate_id other{0xffff'ffff};

}  // namespace

TEST_CASE("memory is one gate's until it was let go of as often as it was taken") {
  memory_guard guard;
  CHECK(guard.guard(one));
  CHECK(guard.guard(one));
  CHECK_FALSE(guard.guard(other));
  guard.unguard();
  CHECK_FALSE(guard.guard(other));
  guard.unguard();
  CHECK(guard.guard(other));
  CHECK_FALSE(guard.guard(one));
  guard.unguard();
}

TEST_CASE("a discard has it for a while, and what is refused leaves it as it was") {
  memory_guard guard;
  {
    const memory_guard::scoped_guard discarding{guard, one};
    CHECK(discarding);
    const memory_guard::scoped_guard refused{guard, other};
    CHECK_FALSE(refused);
  }
  CHECK(guard.guard(other));
  guard.unguard();
}

TEST_CASE("of two gates that come at once one gets it") {
  memory_guard guard;
  std::atomic<int> inside{0};
  std::atomic<int> together{0};
  const auto come = [&](gate_id gate, int weight) {
    for (int i = 0; i < 20'000; ++i) {
      if (!guard.guard(gate)) continue;
      const int before = inside.fetch_add(weight);
      if (weight == 1 ? before >= 1'000 : before % 1'000 != 0) together.fetch_add(1);
      inside.fetch_sub(weight);
      guard.unguard();
    }
  };
  std::thread first{come, one, 1};
  std::thread second{come, other, 1'000};
  first.join();
  second.join();
  CHECK(together == 0);
}

}  // namespace runtime_topology_detail_memory_guard
