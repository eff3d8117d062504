// SPDX-License-Identifier: BSL-1.0
// A gate's status is what its counts and its holders are, at one moment.
#include <tether/inhibit/discard_gate.hpp>
#include <tether/inhibit/gate_status.hpp>

#include <support/must.hpp>

#include <doctest/doctest.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <thread>
#include <vector>

namespace runtime_inhibit_gate_status {

using namespace tether;
using namespace tether_test;

namespace {

/// As the gate says one by one.
template <class Gate>
gate_status seen(Gate const& gate) {
  gate_status all{.counts = gate.counts()};
  gate.for_each_holder(
      [&](holder_info const& one) { all.holders.push_back({one.name, one.what, one.count}); });
  return all;
}

}  // namespace

TEST_CASE_TEMPLATE("an empty gate, and one with an entry of each kind", Threading, single_threaded,
                   multi_threaded) {
  discard_gate<Threading> gate;
  CHECK(gate.status() == gate_status{});
  CHECK(gate.status().allows(discard_kind::uncoordinated));
  {
    auto held = gate.hold(hold_kind::uncoordinated, "blocks");
    REQUIRE(held);
    CHECK_FALSE(gate.status().allows(discard_kind::uncoordinated));
    CHECK(gate.status().allows(discard_kind::coordinated));
    auto needed = gate.require(requirement_kind::coordinated, "virtio-mem");
    REQUIRE(needed);
    const auto paused = gate.suspend("snapshot");
    const auto now = gate.status();
    CHECK(now == seen(gate));
    CHECK_FALSE(now.allows(discard_kind::coordinated));
    REQUIRE(now.holders.size() == 3);
    CHECK(now.holders[0].name == label{"snapshot"});
    CHECK(now.holders[0].what == entry_kind::suspension);
    CHECK(now.holders[2].count == 1);
  }
  CHECK(gate.status() == gate_status{});
}

TEST_CASE("more holders than there was room for at first") {
  discard_gate<> gate;
  std::vector<hold<multi_threaded>> all;
  for (std::size_t i = 0; i != 40; ++i) {
    auto one = gate.hold(hold_kind::any, "holder " + std::to_string(i));
    REQUIRE(one);
    all.push_back(std::move(*one));
    const auto now = gate.status();
    CHECK(now == seen(gate));
    CHECK(now.holders.size() == i + 1);
  }
}

TEST_CASE("it is answered to a visitor, and while a hold waits for a discard") {
  discard_gate<> gate;
  auto held = gate.hold(hold_kind::uncoordinated, "shown");
  REQUIRE(held);
  std::optional<gate_status> within;
  gate.for_each_holder([&](holder_info const&) { within = gate.status(); });
  CHECK(within == gate.status());

  std::thread other;
  {
    const auto running = gate.permit(discard_kind::coordinated);
    REQUIRE(running);
    other = std::thread{[&] {
      const auto waited = gate.hold(hold_kind::any, "waiting");
      CHECK(waited);
    }};
    while (gate.status().counts.any_holds == 0) std::this_thread::yield();
    const auto now = gate.status();
    CHECK(now.holders.size() == 2);
    CHECK(now.holders[0].name == label{"waiting"});
  }
  other.join();
  CHECK(gate.status().counts.any_holds == 0);
}

}  // namespace runtime_inhibit_gate_status
