// SPDX-License-Identifier: BSL-1.0
// The gate: N holders of each kind, permits beside them, on one and on N threads.
#include <growth/growth.hpp>
#include <growth/world.hpp>

#include <tether/inhibit/detail/hold_entry.hpp>
#include <tether/core/stop_token.hpp>
#include <tether/inhibit/discard_gate.hpp>
#include <tether/inhibit/hold.hpp>
#include <tether/inhibit/kinds.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <deque>
#include <optional>
#include <stop_token>
#include <thread>
#include <utility>
#include <vector>

namespace growth_gate {

using namespace tether;
using namespace tether_test::growth;

namespace {

using a_hold = hold<multi_threaded>;
using entry = detail::hold_entry;

/// N handles that `take(gate)` makes, counted, and given back in an order, counted.
template <class Take>
void take_and_give_back(std::uint64_t n, meter& all, Take take) {
  discard_gate<> gate;
  for (int order = 0; order != 3; ++order) {
    std::vector<std::optional<decltype(take(gate))>> them(n);
    auto which = shuffled(n);
    if (order != 2) std::ranges::sort(which);
    if (order == 1) std::ranges::reverse(which);
    all.count([&] {
      for (auto& one : them) one.emplace(take(gate));
      for (const auto i : which) them[i].reset();
    });
  }
}
template <class Guard>
auto taken(guard_or_error<Guard> got) {
  REQUIRE(got.has_value());
  return std::move(*got);
}

/// A gate with N holds of its own list.
struct held_gate {
  explicit held_gate(std::uint64_t n, hold_kind kind = hold_kind::any) {
    for (std::uint64_t i = 0; i != n; ++i) {
      entries.emplace_back("container");
      REQUIRE(gate.raise(entries.back(), kind, 1));
    }
  }
  ~held_gate() {
    for (entry& one : entries) gate.lower(one, one.count());
  }
  held_gate(held_gate const&) = delete;
  held_gate& operator=(held_gate const&) = delete;

  discard_gate<> gate;
  std::deque<entry> entries;
};

const row rows[]{
    {"N holds", "discard_gate::hold scoped_entry::~scoped_entry", promise::each,
     [](std::uint64_t n, meter& all) {
       take_and_give_back(
           n, all, [](discard_gate<>& gate) { return taken(gate.hold(hold_kind::any, "one")); });
     }},
    {"N holds that are tried, or with a stop token or a time",
     "discard_gate::try_hold discard_gate::hold discard_gate::hold_until", promise::each,
     [](std::uint64_t n, meter& all) {
       take_and_give_back(n, all, [](discard_gate<>& gate) {
         return taken(gate.try_hold(hold_kind::uncoordinated, "one"));
       });
       take_and_give_back(n, all, [](discard_gate<>& gate) {
         return taken(gate.hold(hold_kind::any, "one", std::stop_token{}));
       });
       take_and_give_back(n, all, [](discard_gate<>& gate) {
         return taken(
             gate.hold_until(hold_kind::any, "one", std::chrono::steady_clock::time_point::max()));
       });
     }},
    {"N requirements", "discard_gate::require", promise::each,
     [](std::uint64_t n, meter& all) {
       take_and_give_back(n, all, [](discard_gate<>& gate) {
         return taken(gate.require(requirement_kind::any, "one"));
       });
     }},
    {"N suspensions", "discard_gate::suspend", promise::each,
     [](std::uint64_t n, meter& all) {
       take_and_give_back(n, all, [](discard_gate<>& gate) { return gate.suspend("one"); });
     }},
    {"N holds that move, and are asked for their names",
     "scoped_entry::operator= scoped_entry::release scoped_entry::name discard_gate::relocate",
     promise::each,
     [](std::uint64_t n, meter& all) {
       discard_gate<> gate;
       std::deque<a_hold> them;
       for (std::uint64_t i = 0; i != n; ++i)
         them.push_back(taken(gate.hold(hold_kind::any, "one")));
       all.count([&] {
         a_hold spare = std::move(them.front());
         for (std::uint64_t i = 1; i != n; ++i) {
           CHECK(them[i].name() == "one");
           them[i - 1] = std::move(them[i]);
         }
         them.back() = std::move(spare);
         for (a_hold& one : them) one.release();
       });
     }},
    {"raise and lower N entries, each of N kept for ever",
     "discard_gate::raise discard_gate::lower discard_gate::keep_for_ever", promise::each,
     [](std::uint64_t n, meter& all) {
       discard_gate<> gate;
       std::deque<entry> entries;
       for (std::uint64_t i = 0; i != n; ++i) entries.emplace_back("container");
       all.count([&] {
         for (entry& one : entries) REQUIRE(gate.raise(one, hold_kind::any, 2));
         for (entry& one : entries) gate.lower(one, 1);
         for (entry& one : entries) gate.keep_for_ever(one, hold_kind::any);
       });
     }},
    {"N permits while nobody holds", "discard_gate::permit", promise::each,
     [](std::uint64_t n, meter& all) {
       discard_gate<> gate;
       all.count([&] {
         for (std::uint64_t i = 0; i != n; ++i) {
           const auto mine = gate.permit(discard_kind::uncoordinated);
           CHECK(static_cast<bool>(mine));
         }
       });
     }},
    {"some permits that N holders refuse", "discard_gate::permit", promise::same,
     [](std::uint64_t n, meter& all) {
       held_gate here{n};
       all.count([&] {
         for (int i = 0; i != 16; ++i) {
           const auto mine = here.gate.permit(discard_kind::uncoordinated);
           CHECK_FALSE(static_cast<bool>(mine));
         }
       });
     }},
    {"a hold beside N", "discard_gate::hold discard_gate::counts discard_gate::id", promise::same,
     [](std::uint64_t n, meter& all) {
       held_gate here{n};
       all.count([&] {
         const auto mine = here.gate.hold(hold_kind::any, "one");
         CHECK(mine.has_value());
         CHECK(here.gate.counts().any_holds == n + 1);
         CHECK(here.gate.id() != gate_id::none);
       });
     }},
    {"show N holders", "discard_gate::for_each_holder discard_gate::status", promise::each,
     [](std::uint64_t n, meter& all) {
       held_gate here{n};
       all.count([&] {
         std::uint64_t seen = 0;
         here.gate.for_each_holder([&](holder_info const& one) { seen += one.count; });
         CHECK(seen == n);
         CHECK(here.gate.status().holders.size() == n);
       });
     }},
    {"a requirement that N holders refuse", "discard_gate::require", promise::same,
     [](std::uint64_t n, meter& all) {
       held_gate here{n};
       all.count([&] {
         const auto mine = here.gate.require(requirement_kind::any, "one");
         CHECK_FALSE(mine.has_value());
       });
     }},
    {"a requirement that one refuses who has held longer than N others have suspended",
     "discard_gate::require", promise::each,
     [](std::uint64_t n, meter& all) {
       held_gate here{1};
       std::deque<suspension<multi_threaded>> others;
       for (std::uint64_t i = 0; i != n; ++i) others.push_back(here.gate.suspend("snapshot"));
       all.count([&] {
         const auto mine = here.gate.require(requirement_kind::any, "one");
         CHECK_FALSE(mine.has_value());
       });
     }},
    {"permits of N threads", "discard_gate::permit", promise::each,
     [](std::uint64_t n, meter& all) {
       discard_gate<> gate;
       for (std::uint64_t i = 0; i != n; ++i) {
         costs its;
         std::thread{[&] {
           meter mine;
           mine.count([&] {
             const auto one = gate.permit(discard_kind::coordinated);
             CHECK(static_cast<bool>(one));
           });
           its = mine.all();
         }}.join();
         all.add(its);
       }
     },
     16},
};

}  // namespace

TEST_CASE("the gate costs as promised") { judge_all(rows); }

}  // namespace growth_gate
