// SPDX-License-Identifier: BSL-1.0
#include <tether/inhibit/hold.hpp>

#include <tether/inhibit/discard_gate.hpp>

#include <support/may_discard.hpp>

#include <doctest/doctest.h>

#include <cstdint>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace runtime_inhibit_hold {

using namespace tether;
using tether_test::may_discard;

using any_gate = discard_gate<>;
static_assert(std::is_nothrow_move_constructible_v<hold<multi_threaded>> &&
              !std::is_copy_constructible_v<hold<multi_threaded>>);
static_assert(!std::is_same_v<hold<multi_threaded>, requirement<multi_threaded>> &&
              !std::is_same_v<hold<multi_threaded>, suspension<multi_threaded>>);

TEST_CASE("a hold is given back once, however it is moved, and keeps its name") {
  any_gate gate;
  {
    auto first = gate.hold(hold_kind::any, "confidential guest").value();
    auto second = std::move(first);
    CHECK(gate.counts().any_holds == 1);
    CHECK(second.name() == "confidential guest");
    first.release();  // empty: nothing happens
    CHECK(gate.counts().any_holds == 1);
    std::optional<hold<multi_threaded>> third{std::move(second)};
    CHECK(gate.counts().any_holds == 1);
    third.reset();
    CHECK(gate.counts().any_holds == 0);
  }
  CHECK(gate.counts() == gate_counts{});
}

TEST_CASE("assigning over a hold gives the old one back and keeps the new one") {
  any_gate gate;
  auto a = gate.hold(hold_kind::any, "a").value();
  auto b = gate.hold(hold_kind::uncoordinated, "b").value();
  a = std::move(b);
  CHECK(gate.counts() == gate_counts{0, 1, 0, 0, 0});
  CHECK(a.name() == "b");
  auto& same = a;
  a = std::move(same);
  CHECK(gate.counts() == gate_counts{0, 1, 0, 0, 0});
  a.release();
  a.release();
  CHECK(gate.counts() == gate_counts{});
}

TEST_CASE("holds in a growing vector all survive their moves") {
  any_gate gate;
  std::vector<hold<multi_threaded>> all;
  for (std::uint32_t i = 0; i < 50; ++i) {
    all.push_back(gate.hold(hold_kind::any, std::to_string(i)).value());
    CHECK(gate.counts().any_holds == i + 1);
  }
  all.erase(all.begin() + 10, all.begin() + 20);
  CHECK(gate.counts().any_holds == 40);
  std::uint32_t listed = 0;
  gate.for_each_holder([&](holder_info const&) { ++listed; });
  CHECK(listed == 40);
}

TEST_CASE("a moved hold never lets a discard slip in between") {
  any_gate gate;
  auto first = gate.hold(hold_kind::any, "first").value();
  CHECK_FALSE(may_discard(gate, discard_kind::coordinated));
  const auto second = std::move(first);
  CHECK_FALSE(may_discard(gate, discard_kind::coordinated));
}

}  // namespace runtime_inhibit_hold
