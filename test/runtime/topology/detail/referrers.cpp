// SPDX-License-Identifier: BSL-1.0
#include <tether/topology/detail/referrers.hpp>

#include <support/stopped_by.hpp>

#include <doctest/doctest.h>

#include <array>
#include <atomic>
#include <barrier>
#include <thread>
#include <unistd.h>

namespace runtime_topology_detail_referrers {

using tether::detail::referrer;
using tether::detail::referrers;

TEST_CASE("the name that came last and is still there is told") {
  referrers all;
  CHECK(all.newest().view() == "");
  referrer low{tether::label{"low"}};
  referrer high{tether::label{"high"}};
  all.add(low);
  all.add(high);
  CHECK(all.newest().view() == "high");
  all.remove(high);
  CHECK(all.newest().view() == "low");
  all.remove(low);
  CHECK(all.newest().view() == "");
}

TEST_CASE("names come and go on many threads") {
  referrers all;
  std::array<std::thread, 4> threads;
  std::barrier together{4};
  for (auto& one : threads) {
    one = std::thread{[&] {
      together.arrive_and_wait();
      for (unsigned round = 0; round < 2000; ++round) {
        referrer first{tether::label{"first"}};
        referrer second{tether::label{"second"}};
        all.add(first);
        all.add(second);
        all.remove(first);
        all.remove(second);
      }
    }};
  }
  for (auto& one : threads) one.join();
  CHECK(all.newest().view() == "");
}

TEST_CASE("a child waits for no thread of its parent's") {
  referrers all;
  referrer kept{tether::label{"kept"}};
  all.add(kept);
  std::atomic<bool> done{false};
  std::thread busy{[&] {
    while (!done) {
      referrer one{tether::label{"one"}};
      all.add(one);
      all.remove(one);
    }
  }};
  unsigned well = 0;
  for (unsigned round = 0; round < 200; ++round) {
    const auto ended = tether_test::in_a_child([&] {
      ::alarm(20);
      referrer own{tether::label{"own"}};
      all.add(own);
      all.remove(own);
      all.remove(kept);
      return 7;
    });
    if (ended.exit_code == 7) ++well;
  }
  done = true;
  busy.join();
  CHECK(well == 200);
  CHECK(all.newest().view() == "kept");
}

}  // namespace runtime_topology_detail_referrers
