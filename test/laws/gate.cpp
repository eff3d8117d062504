// SPDX-License-Identifier: BSL-1.0
// The gate under threads: both kinds of hold, against the discards that each forbids, beside those
// it does not.
#include <laws/gate.hpp>

#include <tether/inhibit/discard_gate.hpp>

#include <support/amount.hpp>
#include <support/may_discard.hpp>

#include <doctest/doctest.h>

#include <atomic>
#include <cstdint>
#include <cstdio>
#include <mutex>
#include <thread>

namespace laws_gate {

using namespace tether;
using tether_test::may_discard;

namespace {

/// Every interleaving of a few threads is walked by exhaustive/gate_interleavings.cpp; here are
/// many, on the machine as it is.
const std::uint64_t rounds = tether_test::amount(20'000);

/// A lock of a user's own, which counts.
class counting_mutex {
 public:
  void lock() {
    mutex_.lock();
    locked() += 1;
  }
  void unlock() { mutex_.unlock(); }
  static std::atomic<std::uint64_t>& locked() {
    static std::atomic<std::uint64_t> times{0};
    return times;
  }

 private:
  std::mutex mutex_;
};

}  // namespace

TEST_CASE("while any hold stands no discard of either kind runs, whatever the threads do") {
  discard_gate<> gate;
  const auto against_uncoordinated = laws::check_gate_under_threads(
      gate, hold_kind::any, discard_kind::uncoordinated, 2, 2, rounds);
  CHECK(against_uncoordinated.holds + against_uncoordinated.given_up == 2 * rounds);
  CHECK(against_uncoordinated.holds >= rounds);
  CHECK(against_uncoordinated.discards != 0);
  const auto against_coordinated = laws::check_gate_under_threads(
      gate, hold_kind::any, discard_kind::coordinated, 2, 2, rounds / 4);
  CHECK(against_coordinated.discards != 0);
}

TEST_CASE(
    "many discarders, attachers and readers at one gate: nothing is discarded that a hold pins, "
    "and every listing adds up") {
  discard_gate<> gate;
  const auto traffic = laws::check_gate_under_threads(
      gate, hold_kind::any, discard_kind::uncoordinated, 6, 4, rounds / 20, 2);
  CHECK(traffic.holds + traffic.given_up == 4 * (rounds / 20));
  CHECK(traffic.listings != 0);
  std::printf(
      "figures: the gate under threads: %llu discards, %llu inhibited, %llu holds, %llu listings, "
      "0 stale\n",
      static_cast<unsigned long long>(traffic.discards),
      static_cast<unsigned long long>(traffic.inhibited),
      static_cast<unsigned long long>(traffic.holds),
      static_cast<unsigned long long>(traffic.listings));
}

TEST_CASE("a gate with a lock of the user's own keeps the law, and takes that lock") {
  discard_gate<multi_threaded_with<counting_mutex>> gate;
  const auto traffic = laws::check_gate_under_threads(
      gate, hold_kind::any, discard_kind::uncoordinated, 2, 2, rounds / 10);
  CHECK(traffic.holds + traffic.given_up == 2 * (rounds / 10));
  CHECK(counting_mutex::locked() >= traffic.holds);
}

TEST_CASE("a discard that begins as a hold is taken is seen by it, or sees it") {
  // One thread per side: on two processors they meet far more often in the few instructions that
  // matter.
  discard_gate<> gate;
  const auto traffic = laws::check_gate_under_threads(
      gate, hold_kind::any, discard_kind::uncoordinated, 1, 1, 2 * rounds);
  CHECK(traffic.discards != 0);
  CHECK(traffic.holds != 0);
}

TEST_CASE(
    "while an uncoordinated hold stands no uncoordinated discard runs, and coordinated ones go "
    "on") {
  discard_gate<> gate;
  std::atomic<bool> finished{false};
  std::atomic<std::uint64_t> refused{0};
  std::thread coordinated{[&] {
    while (!finished.load()) refused += may_discard(gate, discard_kind::coordinated) ? 0U : 1U;
  }};
  const auto traffic = laws::check_gate_under_threads(
      gate, hold_kind::uncoordinated, discard_kind::uncoordinated, 2, 2, rounds / 2);
  finished = true;
  coordinated.join();
  CHECK(traffic.discards != 0);
  CHECK(refused == 0);
}

TEST_CASE(
    "holds, requirements and suspensions from many threads never exclude wrongly and leave no "
    "count behind") {
  discard_gate<> gate;
  std::atomic<std::uint64_t> wrong{0};
  const auto churn = [&](auto act) {
    return std::thread{[&wrong, act] {
      for (std::uint64_t i = 0; i < rounds / 10; ++i) wrong += act(i) ? 0U : 1U;
    }};
  };
  std::thread all[]{
      churn([&](std::uint64_t) {
        const auto mine = gate.hold(hold_kind::any, "vhost");
        return !mine ||
               (gate.counts().any_requirements == 0 && gate.counts().coordinated_requirements == 0);
      }),
      churn([&](std::uint64_t) {
        const auto mine = gate.hold(hold_kind::uncoordinated, "vfio");
        return !mine || gate.counts().any_requirements == 0;
      }),
      churn([&](std::uint64_t i) {
        const auto mine = gate.require(
            i % 2 == 0 ? requirement_kind::any : requirement_kind::coordinated, "virtio-mem");
        return !mine || gate.counts().any_holds == 0;
      }),
      churn([&](std::uint64_t) {
        const auto mine = gate.suspend("snapshot");
        return !may_discard(gate, discard_kind::coordinated);
      }),
  };
  for (auto& one : all) one.join();
  CHECK(wrong == 0);
  CHECK(gate.counts() == gate_counts{});
  CHECK(may_discard(gate, discard_kind::uncoordinated));
}

}  // namespace laws_gate
