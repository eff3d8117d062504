// SPDX-License-Identifier: BSL-1.0
#include <tether/topology/detail/listener_table.hpp>

#include <support/listener_recorder.hpp>

#include <doctest/doctest.h>

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace runtime_topology_detail_listener_table {

using namespace tether;
using namespace tether::detail;
using detail::listener_handle;
using detail::listener_table;
using tether_test::listener_calls;
using tether_test::listener_recorder;

namespace {

section mmio(std::uint64_t first, const char* name) {
  return {{guest_address{first}, guest_address{first + 0xf}},
          nullptr,
          block_offset{0},
          region_kind::mmio,
          false,
          false,
          name};
}

struct three {
  listener_calls shared;
  listener_recorder low{"low", shared};
  listener_recorder same{"same", shared};
  listener_recorder high{"high", shared};
  listener_table table;
  std::vector<error> fenced;
  difference placed{{}, {mmio(0, "a"), mmio(0x10, "b")}};

  three() {
    fenced.reserve(8);
    enrol(high, 10);
    enrol(low, 0);
    enrol(same, 0);
  }
  void enrol(listener_recorder& who, int priority) {
    table.insert(listener_handle{who}, priority);
    table.find(&who)->now = listener_table::state::enrolled;
  }
};

static_assert(memory_listener<listener_handle>);

}  // namespace

TEST_CASE("additions go up the priorities and removals down, registration breaks ties") {
  three t;
  REQUIRE(t.table.deliver(t.placed, commit_kind::refusable, t.fenced));
  CHECK(t.shared == listener_calls{"low: begin", "same: begin", "high: begin", "low: +a[0,f]",
                                   "same: +a[0,f]", "high: +a[0,f]", "low: +b[10,1f]",
                                   "same: +b[10,1f]", "high: +b[10,1f]", "low: commit",
                                   "same: commit", "high: commit"});
  t.shared.clear();
  REQUIRE(t.table.deliver({{mmio(0, "a")}, {}}, commit_kind::refusable, t.fenced));
  CHECK(t.shared == listener_calls{"low: begin", "same: begin", "high: begin", "high: -a[0,f]",
                                   "same: -a[0,f]", "low: -a[0,f]", "low: commit", "same: commit",
                                   "high: commit"});
}

TEST_CASE("a refused change is undone for those that followed, and the first refusal is answered") {
  three t;
  t.same.refuse_at = 1;
  t.high.refuse_at = 1;
  const auto outcome = t.table.deliver(t.placed, commit_kind::refusable, t.fenced);
  REQUIRE_FALSE(outcome);
  CHECK(outcome.error().subject() == "same");
  CHECK_FALSE(outcome.error().rollback_failed());
  CHECK(listener_calls(t.shared.begin() + 9, t.shared.end()) ==
        listener_calls{"low: commit", "same: refuse", "high: refuse", "low: begin!", "low: -a[0,f]",
                       "low: -b[10,1f]", "low: commit"});
  for (auto const* one : {&t.low, &t.same, &t.high}) {
    CHECK(one->mapped().empty());
    CHECK(one->breaches.empty());
  }
}

TEST_CASE("a listener that knows a rollback is told that it is one") {
  struct knows_rollbacks : listener_recorder {
    std::uint64_t rollbacks = 0;
    void begin_rollback() noexcept {
      rollbacks += 1;
      begin(commit_kind::compulsory);
    }
  };
  static_assert(rolls_back<knows_rollbacks> && !rolls_back<listener_recorder>);
  three t;
  knows_rollbacks knows;
  t.table.insert(listener_handle{knows}, 0);
  t.table.find(&knows)->now = listener_table::state::enrolled;
  REQUIRE(t.table.deliver(t.placed, commit_kind::refusable, t.fenced));
  CHECK(knows.rollbacks == 0);
  t.high.refuse_at = 1;
  CHECK_FALSE(t.table.deliver({t.placed.additions, {}}, commit_kind::refusable, t.fenced));
  CHECK(knows.rollbacks == 1);
  CHECK(knows.mapped() == t.placed.additions);
  CHECK(knows.breaches.empty());
  REQUIRE(t.table.deliver({t.placed.additions, {}}, commit_kind::compulsory, t.fenced));
  CHECK(knows.rollbacks == 1);
}

TEST_CASE("all are asked before any is told, and one that could not follow spares the others") {
  struct knows_beforehand : listener_recorder {
    using listener_recorder::listener_recorder;
    bool could = true;
    std::uint64_t asked = 0;
    result<void> could_follow(std::span<section const> removals,
                              std::span<section const> additions) noexcept {
      asked += removals.size() + additions.size();
      return could ? result<void>{} : failure(error{"follow", errc::outside_aperture}.of("knows"));
    }
  };
  static_assert(foretells<knows_beforehand> && foretells<listener_handle> &&
                !foretells<listener_recorder>);
  three t;
  knows_beforehand knows{"knows", t.shared};
  t.table.insert(listener_handle{knows}, 20);
  t.table.find(&knows)->now = listener_table::state::enrolled;
  REQUIRE(t.table.deliver(t.placed, commit_kind::refusable, t.fenced));
  CHECK(knows.asked == 2);
  const auto before = knows.mapped();
  t.shared.clear();
  knows.could = false;
  const auto refused = t.table.deliver({t.placed.additions, {}}, commit_kind::refusable, t.fenced);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().subject() == "knows");
  CHECK(t.shared.empty());
  CHECK(knows.mapped() == before);

  CHECK(knows.asked == 4);
  for (auto* const other : {&t.low, &t.same, &t.high})
    t.table.find(other)->now = listener_table::state::leaving;
  REQUIRE(t.table.deliver({{mmio(0, "a")}, {}}, commit_kind::refusable, t.fenced));
  CHECK(knows.asked == 4);  // alone: its commit refuses before it does anything
  t.table.find(&t.low)->now = listener_table::state::enrolled;
  REQUIRE(t.table.deliver({{mmio(0x10, "b")}, {}}, commit_kind::compulsory, t.fenced));
  CHECK(knows.asked == 4);  // nobody may refuse
  CHECK(knows.mapped().empty());
}

TEST_CASE("a refusal that could not be undone everywhere says so") {
  three t;
  t.high.refuse_at = 1;
  t.low.refuse_at = 2;  // the undo
  const auto outcome = t.table.deliver(t.placed, commit_kind::refusable, t.fenced);
  REQUIRE_FALSE(outcome);
  CHECK(outcome.error().subject() == "high");
  CHECK(outcome.error().rollback_failed());
}

TEST_CASE("a compulsory change stays, and everyone that could not follow is named") {
  three t;
  t.low.refuse_at = 1;
  t.high.refuse_at = 1;
  REQUIRE(t.table.deliver(t.placed, commit_kind::compulsory, t.fenced));
  REQUIRE(t.fenced.size() == 2);
  CHECK(t.fenced[0].subject() == "low");
  CHECK(t.fenced[1].subject() == "high");
  CHECK(t.same.mapped().size() == 2);
}

TEST_CASE("those that are joining or leaving are told nothing") {
  three t;
  t.table.find(&t.low)->now = listener_table::state::joining;
  t.table.find(&t.high)->now = listener_table::state::leaving;
  REQUIRE(t.table.deliver(t.placed, commit_kind::refusable, t.fenced));
  CHECK(t.low.begins == 0);
  CHECK(t.same.begins == 1);
  CHECK(t.high.begins == 0);
  t.table.erase(&t.same);
  t.table.erase(&t.same);
  CHECK(t.table.size() == 2);
  CHECK(t.table.find(&t.same) == nullptr);
}

}  // namespace runtime_topology_detail_listener_table
