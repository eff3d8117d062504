// SPDX-License-Identifier: BSL-1.0
#include <tether/inhibit/detail/kept_owners.hpp>

#include <tether/inhibit/discard_gate.hpp>

#include <doctest/doctest.h>

#include <barrier>
#include <optional>
#include <thread>

namespace runtime_inhibit_detail_kept_owners {

using namespace tether;
using namespace tether::detail;

namespace {

/// An owner of one hold.
struct owner : kept_owner {
  owner()
      : kept_owner{[](kept_owner& one, ledger& its) noexcept {
          hold_entry& held = static_cast<owner&>(one).entry;
          its.subtract(held, held.count());
        }} {}
  void end(discard_gate<>& gate) {
    kept_owners::remove(*this, [&] {
      gate.lower(entry, entry.count());
      gave_back = true;
    });
  }
  hold_entry entry{"owner"};
  bool gave_back = false;
};

}  // namespace

TEST_CASE("an owner that ends before its gate gives back, and one that ends later need not") {
  std::optional<discard_gate<>> gate{std::in_place};
  owner first;
  owner second;
  owner third;
  for (owner* one : {&first, &second, &third}) {
    REQUIRE(gate->raise(one->entry, hold_kind::any, 1));
    gate->adopt(*one);
  }
  second.end(*gate);
  CHECK(second.gave_back);
  CHECK(gate->counts().any_holds == 2);
  second.end(*gate);
  CHECK(gate->counts().any_holds == 2);
  third.end(*gate);
  CHECK(gate->counts().any_holds == 1);
  auto& gone = *gate;
  gate.reset();
  CHECK(first.entry.count() == 0);
  first.end(gone);
  CHECK_FALSE(first.gave_back);
}

TEST_CASE("an owner and its gate may end at once") {
  for (int round = 0; round < 200; ++round) {
    std::optional<discard_gate<>> gate{std::in_place};
    owner one;
    REQUIRE(gate->raise(one.entry, hold_kind::any, 1));
    gate->adopt(one);
    std::barrier together{2};
    std::thread other{[&, &its = *gate] {
      together.arrive_and_wait();
      one.end(its);
    }};
    together.arrive_and_wait();
    gate.reset();
    other.join();
    CHECK(one.entry.count() == 0);
  }
}

}  // namespace runtime_inhibit_detail_kept_owners
