// SPDX-License-Identifier: BSL-1.0
#include <tether/inhibit/threading.hpp>

#include <tether/inhibit/discard_gate.hpp>

#include <support/may_discard.hpp>
#include <support/stopped_by.hpp>

#include <doctest/doctest.h>

#include <string>
#include <type_traits>

namespace runtime_inhibit_threading {

using namespace tether;
using tether_test::may_discard;
using tether_test::stopped_by;

namespace {

/// A VMM's one big lock.
struct big_lock {
  static inline thread_local bool held = false;
  static bool is_held() noexcept { return held; }
};
using big_gate = discard_gate<externally_serialised<big_lock>>;

struct holding_big_lock {
  holding_big_lock() { big_lock::held = true; }
  holding_big_lock(holding_big_lock const&) = delete;
  holding_big_lock& operator=(holding_big_lock const&) = delete;
  ~holding_big_lock() { big_lock::held = false; }
};

}  // namespace

static_assert(policy<single_threaded> && policy<multi_threaded> &&
              policy<externally_serialised<big_lock>>);
static_assert(std::is_empty_v<single_threaded::mutex>);
static_assert(std::is_same_v<single_threaded::reader_indicator,
                             externally_serialised<big_lock>::reader_indicator>);

TEST_CASE("under a lock of the VMM's own everything works, and adds no lock") {
  const holding_big_lock lock;
  big_gate gate;
  {
    const auto permit = gate.permit(discard_kind::uncoordinated);
    CHECK(static_cast<bool>(permit));
  }
  auto held = gate.hold(hold_kind::any, "nic");
  REQUIRE(held);
  CHECK_FALSE(may_discard(gate, discard_kind::coordinated));
  CHECK(gate.counts().any_holds == 1);
}

TEST_CASE(
    "a gate that is serialised by an outer lock stops the program where that lock is not held") {
  const auto without_lock = [](auto act) {
    return stopped_by([&] {
             big_lock::held = true;
             big_gate gate;
             auto held = gate.hold(hold_kind::uncoordinated, "nic").value();
             auto demand = gate.require(requirement_kind::coordinated, "virtio-mem").value();
             big_lock::held = false;
             act(gate);
             big_lock::held = true;
           }).find("tether[T2]") != std::string::npos;
  };
  CHECK(without_lock(
      [](big_gate& gate) { static_cast<void>(may_discard(gate, discard_kind::coordinated)); }));
  CHECK(without_lock(
      [](big_gate& gate) { static_cast<void>(gate.hold(hold_kind::uncoordinated, "late")); }));
  CHECK(without_lock(
      [](big_gate& gate) { static_cast<void>(gate.try_hold(hold_kind::uncoordinated, "late")); }));
  CHECK(without_lock([](big_gate& gate) {
    static_cast<void>(gate.require(requirement_kind::coordinated, "late"));
  }));
  CHECK(without_lock([](big_gate& gate) { static_cast<void>(gate.suspend("late")); }));
  CHECK(without_lock([](big_gate& gate) { static_cast<void>(gate.counts()); }));
  CHECK(without_lock([](big_gate& gate) { gate.for_each_holder([](holder_info const&) {}); }));
  CHECK_FALSE(without_lock([](big_gate&) {}));
}

TEST_CASE("a permit is given back under the outer lock too") {
  CHECK(stopped_by([] {
          big_lock::held = true;
          big_gate gate;
          {
            const auto permit = gate.permit(discard_kind::uncoordinated);
            big_lock::held = false;
          }
          big_lock::held = true;
        }).find("tether[T2]") != std::string::npos);
}

TEST_CASE("on one thread a hold while discarding is refused, not waited for") {
  discard_gate<single_threaded> gate;
  {
    const auto permit = gate.permit(discard_kind::uncoordinated);
    REQUIRE(static_cast<bool>(permit));
    const auto refused = gate.hold(hold_kind::any, "nic");
    REQUIRE_FALSE(refused);
    CHECK(refused.error().code() == std::make_error_code(std::errc::resource_deadlock_would_occur));
    CHECK(gate.counts() == gate_counts{});
  }
  CHECK(gate.hold(hold_kind::any, "nic"));
}

}  // namespace runtime_inhibit_threading
