// SPDX-License-Identifier: BSL-1.0
#include <tether/core/stop_token.hpp>
#include <tether/inhibit/discard_gate.hpp>

#include <support/may_discard.hpp>
#include <support/stopped_by.hpp>

#include <doctest/doctest.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <optional>
#include <stop_token>
#include <string>
#include <system_error>
#include <thread>
#include <type_traits>
#include <unistd.h>
#include <utility>
#include <vector>

namespace runtime_inhibit_discard_gate {

using namespace tether;
using tether_test::may_discard;
using tether_test::stopped_by;
using namespace std::chrono_literals;

using permit_type = discard_gate<>::permit_guard;
static_assert(!std::is_move_constructible_v<permit_type> &&
                  !std::is_copy_constructible_v<permit_type>,
              "a permit is given back on the thread that took it");
static_assert(!std::is_convertible_v<permit_type, bool>);

namespace {

/// A thread that has a permit until it is told to leave.
class discarder {
 public:
  discarder(discard_gate<>& gate, discard_kind kind)
      : thread_{[this, &gate, kind] {
          const auto permit = gate.permit(kind);
          granted_.store(static_cast<bool>(permit));
          inside_.store(true);
          inside_.notify_all();
          leave_.wait(false);
          left_.store(true);
        }} {
    inside_.wait(false);
  }
  ~discarder() { leave(); }
  discarder(discarder const&) = delete;
  discarder& operator=(discarder const&) = delete;

  [[nodiscard]] bool granted() const { return granted_.load(); }
  [[nodiscard]] bool left() const { return left_.load(); }
  void leave_soon() {
    leave_.store(true);
    leave_.notify_all();
  }
  void leave() {
    leave_soon();
    if (thread_.joinable()) thread_.join();
  }

 private:
  std::atomic<bool> granted_{false};
  std::atomic<bool> inside_{false};
  std::atomic<bool> leave_{false};
  std::atomic<bool> left_{false};
  std::thread thread_;
};

std::vector<std::string> listed(discard_gate<> const& gate) {
  std::vector<std::string> all;
  gate.for_each_holder([&](holder_info const& one) {
    all.push_back(std::string{one.name} + ": " + std::to_string(one.count) + " " +
                  name_of(one.what));
  });
  return all;
}

}  // namespace

TEST_CASE("the gate refuses and grants exactly as the table of kinds says") {
  const auto take = [](discard_gate<>& gate, int what) -> std::optional<error> {
    const auto outcome = [](auto const& done) {
      return done ? std::optional<error>{} : done.error();
    };
    switch (what) {
      case 0: return outcome(gate.hold(hold_kind::any, "late"));
      case 1: return outcome(gate.hold(hold_kind::uncoordinated, "late"));
      case 2: return outcome(gate.require(requirement_kind::any, "late"));
      default: return outcome(gate.require(requirement_kind::coordinated, "late"));
    }
  };
  // Rows: what stands. Columns: what is asked for. Facts 1.4.
  constexpr bool granted[4][4] = {
      {true, true, false, false},  // any hold
      {true, true, false, true},   // uncoordinated hold
      {false, false, true, true},  // any requirement
      {false, true, true, true},   // coordinated requirement
  };
  for (int stands = 0; stands < 4; ++stands) {
    for (int asked = 0; asked < 4; ++asked) {
      CAPTURE(stands);
      CAPTURE(asked);
      discard_gate<> gate;
      std::optional<hold<multi_threaded>> a_hold;
      std::optional<requirement<multi_threaded>> a_requirement;
      if (stands < 2)
        a_hold.emplace(
            gate.hold(stands == 0 ? hold_kind::any : hold_kind::uncoordinated, "first").value());
      else
        a_requirement.emplace(
            gate.require(stands == 2 ? requirement_kind::any : requirement_kind::coordinated,
                         "first")
                .value());
      const auto before = gate.counts();
      const auto why = take(gate, asked);
      CHECK(why.has_value() != granted[stands][asked]);
      if (why) {
        CHECK(why->is(asked < 2 ? errc::discards_required : errc::discards_disabled));
        CHECK(why->blocker() == "first");
        CHECK(why->subject() == "late");
        CHECK(why->sentence() ==
              (asked < 2 ? "take hold for 'late': 'first' requires that discards stay possible; map "
                           "in blocks (fixed_block<Size>), or unplug what requires discards"
                         : std::string{"require discards for 'late': 'first' holds discards down; "
                                       "detach what holds them down first"} +
                               (asked == 2 ? "" : ", or let it map in blocks (fixed_block<Size>)")));
      }
      CHECK(gate.counts() == before);
      CHECK(may_discard(gate, discard_kind::uncoordinated) == (stands >= 2));
      CHECK(may_discard(gate, discard_kind::coordinated) == (stands != 0));
    }
  }
}

TEST_CASE("a hold returns only when no discard that it forbids is running") {
  discard_gate<> gate;
  for (int round = 0; round < 200; ++round) {
    discarder balloon{gate, discard_kind::uncoordinated};
    REQUIRE(balloon.granted());
    balloon.leave_soon();
    const auto held = gate.hold(round % 2 == 0 ? hold_kind::any : hold_kind::uncoordinated, "nic");
    REQUIRE(held);
    CHECK(balloon.left());
    CHECK_FALSE(may_discard(gate, discard_kind::uncoordinated));
  }
}

TEST_CASE("an uncoordinated hold does not wait for coordinated discards") {
  discard_gate<> gate;
  discarder coordinated{gate, discard_kind::coordinated};
  REQUIRE(coordinated.granted());
  auto held = gate.hold(hold_kind::uncoordinated, "nic");
  CHECK(held);
  CHECK_FALSE(coordinated.left());
  CHECK_FALSE(gate.try_hold(hold_kind::any, "disk"));
}

TEST_CASE("try_hold answers busy while a forbidden discard runs, and leaves nothing behind") {
  discard_gate<> gate;
  discarder balloon{gate, discard_kind::uncoordinated};
  const auto busy = gate.try_hold(hold_kind::any, "nic");
  REQUIRE_FALSE(busy);
  CHECK(busy.error().code() == std::make_error_code(std::errc::device_or_resource_busy));
  CHECK(busy.error().subject() == "nic");
  CHECK(gate.counts() == gate_counts{});
  CHECK(may_discard(gate, discard_kind::uncoordinated));
  balloon.leave();
  CHECK(gate.try_hold(hold_kind::any, "nic"));
}

TEST_CASE("a hold gives up at its deadline, and the gate is open again") {
  discard_gate<> gate;
  discarder balloon{gate, discard_kind::uncoordinated};
  const auto late = gate.hold_until(hold_kind::any, "nic", std::chrono::steady_clock::now() + 1ms);
  REQUIRE_FALSE(late);
  CHECK(late.error().code() == std::make_error_code(std::errc::timed_out));
  CHECK(gate.counts() == gate_counts{});
  CHECK(may_discard(gate, discard_kind::uncoordinated));
  CHECK(may_discard(gate, discard_kind::coordinated));
  balloon.leave();
  // nobody inside: nothing to wait for
  CHECK(gate.hold_until(hold_kind::any, "nic", std::chrono::steady_clock::now() - 1h));
}

TEST_CASE("a hold gives up when it is told to stop, also while it waits") {
  discard_gate<> gate;
  discarder balloon{gate, discard_kind::uncoordinated};
  std::stop_source stop;
  std::thread canceller{[&] {
    // Once the gate is closed the hold waits, or is about to.
    while (may_discard(gate, discard_kind::uncoordinated)) std::this_thread::yield();
    stop.request_stop();
  }};
  const auto cancelled = gate.hold(hold_kind::any, "nic", stop.get_token());
  canceller.join();
  REQUIRE_FALSE(cancelled);
  CHECK(cancelled.error().code() == std::make_error_code(std::errc::operation_canceled));
  CHECK(gate.counts() == gate_counts{});
  CHECK(may_discard(gate, discard_kind::uncoordinated));
}

TEST_CASE("a thread that discards cannot wait for itself: it is told so, whichever gate it asks") {
  discard_gate<> gate;
  discard_gate<> another;
  const auto permit = gate.permit(discard_kind::coordinated);
  REQUIRE(static_cast<bool>(permit));
  for (auto* asked : {&gate, &another}) {
    const auto refused = asked->hold(hold_kind::any, "nic");
    REQUIRE_FALSE(refused);
    CHECK(refused.error().code() == std::make_error_code(std::errc::resource_deadlock_would_occur));
    CHECK(asked->counts() == gate_counts{});
  }
  CHECK(stopped_by([&] { static_cast<void>(gate.suspend("snapshot")); }).find("tether[I4]") !=
        std::string::npos);
}

TEST_CASE(
    "a suspension conflicts with nothing, waits for what runs, and inhibits everything while it "
    "lives") {
  discard_gate<> gate;
  auto demand = gate.require(requirement_kind::any, "virtio-mem").value();
  {
    discarder balloon{gate, discard_kind::coordinated};
    REQUIRE(balloon.granted());
    balloon.leave_soon();
    const auto first = gate.suspend("snapshot");
    CHECK(balloon.left());
    const auto second = gate.suspend("migration");
    CHECK(gate.counts() == gate_counts{0, 0, 1, 0, 2});
    CHECK_FALSE(may_discard(gate, discard_kind::coordinated));
    CHECK_FALSE(may_discard(gate, discard_kind::uncoordinated));
  }
  CHECK(may_discard(gate, discard_kind::coordinated));
  demand.release();
  const auto suspended = gate.suspend("snapshot");
  CHECK(gate.hold(hold_kind::any, "nic"));
  CHECK(gate.require(requirement_kind::any, "virtio-mem"));
}

TEST_CASE("the gate lists who holds it, latest first, and how often") {
  discard_gate<> gate;
  const auto a = gate.hold(hold_kind::uncoordinated, "group 12").value();
  const auto b = gate.require(requirement_kind::coordinated, "virtio-mem").value();
  {
    const auto c = gate.suspend("snapshot");
    CHECK(listed(gate) == std::vector<std::string>{"snapshot: 1 suspension",
                                                   "virtio-mem: 1 coordinated requirement",
                                                   "group 12: 1 uncoordinated hold"});
  }
  detail::hold_entry own{"container"};
  REQUIRE(gate.raise(own, hold_kind::uncoordinated, 3));
  CHECK(listed(gate).front() == "container: 3 uncoordinated hold");
  gate.lower(own, 1);
  CHECK(own.count() == 2);
  CHECK(gate.counts().uncoordinated_holds == 3);
  gate.lower(own, 2);
  CHECK(listed(gate).size() == 2);
}

TEST_CASE("raising an entry that is refused leaves it as it was") {
  discard_gate<> gate;
  detail::hold_entry own{"container"};
  REQUIRE(gate.raise(own, hold_kind::uncoordinated, 1));
  const auto demand = gate.require(requirement_kind::coordinated, "virtio-mem").value();
  detail::hold_entry other{"other"};
  const auto refused = gate.raise(other, hold_kind::any, 5);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().is(errc::discards_required));
  CHECK(refused.error().blocker() == "virtio-mem");
  CHECK(other.count() == 0);
  discarder balloon{gate, discard_kind::coordinated};
  REQUIRE(balloon.granted());
  REQUIRE(gate.raise(own, hold_kind::uncoordinated, 2, {.wait = false}));
  CHECK(own.count() == 3);
  gate.lower(own, 3);
}

TEST_CASE("giving back more than is held stops the program") {
  CHECK(stopped_by([] {
          discard_gate<> gate;
          detail::hold_entry own{"container"};
          static_cast<void>(gate.raise(own, hold_kind::any, 1));
          gate.lower(own, 2);
        }).find("tether[I6]") != std::string::npos);
}

TEST_CASE("a permit that ends on another thread stops the program, at the latest with its own") {
  CHECK(stopped_by([] {
          discard_gate<> gate;
          permit_type const* carried = nullptr;
          std::thread{[&] {
            carried = new permit_type(gate.permit(discard_kind::uncoordinated));
          }}.join();
          delete carried;
        }).find("tether[I18]") != std::string::npos);
  CHECK(stopped_by([] {
          discard_gate<> gate;
          const auto own = gate.permit(discard_kind::uncoordinated);
          permit_type const* carried = nullptr;
          std::thread{[&] {
            carried = new permit_type(gate.permit(discard_kind::uncoordinated));
          }}.join();
          delete carried;
        }).find("tether[I18]") != std::string::npos);
}

TEST_CASE("who is shown the holders may ask the gate whatever changes nothing") {
  discard_gate<> gate;
  discard_gate<> other;
  const auto any = gate.hold(hold_kind::any, "nic");
  const auto others = other.hold(hold_kind::uncoordinated, "disk");
  unsigned shown = 0;
  gate.for_each_holder([&](holder_info const& who) {
    CHECK(who.name == "nic");
    CHECK(gate.counts().any_holds == 1);
    other.for_each_holder([&](holder_info const&) {
      gate.for_each_holder([&](holder_info const&) { ++shown; });
      CHECK(other.counts().uncoordinated_holds == 1);
    });
    CHECK(other.hold(hold_kind::any, "another gate's").has_value());
    const auto permit = gate.permit(discard_kind::coordinated);
    CHECK_FALSE(static_cast<bool>(permit));
  });
  CHECK(shown == 1);
  CHECK(gate.counts().any_holds == 1);
}

TEST_CASE("who is shown the holders may end a permit while a hold waits for another one") {
  const auto ended = tether_test::in_a_child([] {
    ::alarm(60);  // a wait that never ends
    discard_gate<> gate;

    discarder discarding{gate, discard_kind::uncoordinated};
    std::thread holder{[&] {
      const auto held = gate.hold(hold_kind::uncoordinated, "nic");
      static_cast<void>(held.has_value());
    }};
    while (gate.counts().uncoordinated_holds == 0) std::this_thread::yield();
    bool granted = false;
    gate.for_each_holder([&](holder_info const&) {
      const auto permit = gate.permit(discard_kind::coordinated);
      granted = permit.granted();
    });
    discarding.leave();
    holder.join();
    return granted ? 0 : 1;
  });
  CHECK(ended.exit_code == 0);
}

TEST_CASE("who is shown the holders and changes them stops the program") {
  const auto says = [](auto change) {
    return stopped_by([&] {
             discard_gate<> gate;
             auto held = gate.hold(hold_kind::uncoordinated, "nic");
             gate.for_each_holder([&](holder_info const&) { change(gate, *held); });
           }).find("tether[I19]") != std::string::npos;
  };
  using held_type = hold<multi_threaded>;
  CHECK(says([](discard_gate<>& gate, held_type&) {
    static_cast<void>(gate.try_hold(hold_kind::any, "another").has_value());
  }));
  CHECK(says([](discard_gate<>& gate, held_type&) { const auto all = gate.suspend("snapshot"); }));
  CHECK(says([](discard_gate<>& gate, held_type&) {
    static_cast<void>(gate.require(requirement_kind::coordinated, "virtio-mem").has_value());
  }));
  CHECK(says([](discard_gate<>&, held_type& held) { held.release(); }));
}

TEST_CASE("a gate that is destroyed while it is held stops the program") {
  CHECK(stopped_by([] {
          std::optional<hold<multi_threaded>> kept;
          discard_gate<> gate;
          kept.emplace(gate.hold(hold_kind::any, "nic").value());
        }).find("tether[I3]") != std::string::npos);
}

TEST_CASE("holds that are kept for ever outlive their owner, and the gate says so") {
  discard_gate<> gate;
  {
    detail::hold_entry own{"container"};
    REQUIRE(gate.raise(own, hold_kind::any, 2));
    gate.keep_for_ever(own, hold_kind::any);
    CHECK(own.count() == 0);
    detail::hold_entry another{"another"};
    REQUIRE(gate.raise(another, hold_kind::uncoordinated, 1));
    gate.keep_for_ever(another, hold_kind::uncoordinated);
    detail::hold_entry empty{"empty"};
    gate.keep_for_ever(empty, hold_kind::any);
  }
  CHECK(gate.counts() == gate_counts{2, 1, 0, 0, 0});
  CHECK_FALSE(may_discard(gate, discard_kind::coordinated));
  CHECK(listed(gate).size() == 2);
  CHECK_FALSE(gate.require(requirement_kind::coordinated, "virtio-mem"));
}

TEST_CASE("a hold that waits can be joined by another, and both get it") {
  discard_gate<> gate;
  discarder balloon{gate, discard_kind::uncoordinated};
  std::atomic<int> got{0};
  std::vector<std::thread> waiters;
  for (int i = 0; i < 3; ++i) {
    waiters.emplace_back([&] {
      const auto held = gate.hold(hold_kind::any, "waiter");
      got += held && balloon.left() ? 1 : 0;
    });
  }
  while (gate.counts().any_holds != 3) std::this_thread::yield();
  balloon.leave_soon();
  for (auto& one : waiters) one.join();
  CHECK(got == 3);
  CHECK(gate.counts() == gate_counts{});
}

TEST_CASE_TEMPLATE("holds beyond what a gate can count are refused, and it stays closed", Threading,
                   single_threaded, multi_threaded) {
  constexpr std::uint32_t half = 1U << 31U;
  discard_gate<Threading> gate;
  detail::hold_entry one{"one"};
  detail::hold_entry two{"two"};
  REQUIRE(gate.raise(one, hold_kind::any, half));
  const auto refused = gate.raise(two, hold_kind::any, half);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code() == std::errc::value_too_large);
  CHECK(refused.error().sentence().find("two") != std::string::npos);
  CHECK(refused.error().sentence().find("4,294,967,295") != std::string::npos);
  CHECK(two.count() == 0);
  CHECK(gate.counts().any_holds == half);
  CHECK_FALSE(may_discard(gate, discard_kind::uncoordinated));
  REQUIRE(gate.raise(two, hold_kind::any, half - 1));
  CHECK_FALSE(gate.hold(hold_kind::any, "one too many"));
  // Counted by themselves, and closing the same gate: together they are none in 32 bits.
  detail::hold_entry blocks{"blocks"};
  REQUIRE(gate.raise(blocks, hold_kind::uncoordinated, 1));
  CHECK_FALSE(may_discard(gate, discard_kind::uncoordinated));
  CHECK_FALSE(may_discard(gate, discard_kind::coordinated));
  gate.keep_for_ever(two, hold_kind::any);
  CHECK_FALSE(may_discard(gate, discard_kind::coordinated));
  gate.lower(one, half);
  gate.lower(blocks, 1);
  CHECK_FALSE(may_discard(gate, discard_kind::uncoordinated));
}

}  // namespace runtime_inhibit_discard_gate
