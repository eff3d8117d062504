// SPDX-License-Identifier: BSL-1.0
// What a source does, step by step.
#include <tether/proof/units/source_steps.hpp>

#include <cstddef>

namespace tether::proof {
namespace {

using stepwise = unit_scope<1, 2>;
using here = unit_world<stepwise>;
using steps = source_steps<unit_abstraction<>, stepwise>;

struct choice {
  here to{};
  unit_report said{};
  unit_event by{};
  std::size_t of = 0;
};
constexpr choice taken(here const& from, std::size_t nth = 0, std::size_t source = 0) {
  choice one{};
  const auto visit = [&](unit_successor<stepwise> const& next) {
    if (one.of++ == nth) one.to = next.here, one.said = next.said, one.by = next.by;
    return true;
  };
  static_cast<void>(steps::for_each(from, source, visit));
  return one;
}

constexpr here attached = [] {
  here from{};
  from.containers[0] = {.mapped = true, .followed = true, .reaches = true, .attached = true};
  return from;
}();
constexpr here begun = taken(attached).to;
static_assert(begun.changing && begun.sources[0].gave && begun.sources[0].step == unit_step::enter);
static_assert(taken(begun, 0, 1).of == 0, "nobody else changes it meanwhile");

constexpr here enrolling = [] {
  here from = begun;
  from.turns.enrolling = 1;
  from.containers[0].doing = follower_task::work;
  return from;
}();
constexpr choice busy = taken(enrolling);
static_assert(busy.by.how == unit_outcome::failed && !busy.to.changing &&
              !busy.to.sources[0].gave && busy.said.broken == 0);
constexpr here nobody_enrols = [] {
  here from = enrolling;
  from.containers[0].doing = follower_task::rest;
  return from;
}();
static_assert(taken(nobody_enrols).said.broken == bit(unit_property::needless_refusal));

constexpr here locked = taken(taken(begun).to).to;
static_assert(locked.turns.telling == 1 && locked.containers[0].locked);
constexpr here unmapped = taken(locked).to;
static_assert(!unmapped.containers[0].reaches && unmapped.sources[0].step == unit_step::empty);
constexpr here gone = taken(taken(unmapped).to).to;
static_assert(!gone.present && !gone.memory_there && gone.sources[0].wants && !gone.changing &&
              gone.turns.telling == 0 && !gone.containers[0].locked);
constexpr here taken_back = taken(taken(unmapped, 1).to).to;
static_assert(taken_back.containers[0] == attached.containers[0] && taken_back.present &&
              !taken_back.sources[0].gave && !taken_back.changing);

static_assert(taken(gone).of == 2, "it populates, or fences");
constexpr here agreed = taken(gone, 0, 1).to;
static_assert(agreed.sources[1].wants && !agreed.changing);
static_assert(taken(agreed).to.sources[0] == user_state{} && !taken(agreed).to.present,
              "the other one wants it gone");

// Merged, what commutes is one event: two outcomes of bringing the memory in.
using merged = source_steps<unit_abstraction<>, unit_scope<1, 2, unit_steps::merged>>;
constexpr std::size_t merged_ways = [] {
  unit_world<unit_scope<1, 2, unit_steps::merged>> from{};
  from.sources[0].wants = from.sources[0].gave = true;
  from.present = from.memory_there = false;
  std::size_t ways = 0;
  const auto visit = [&](auto const&) { return ++ways != 0; };
  static_cast<void>(merged::for_each(from, 0, visit));
  return ways;
}();
static_assert(merged_ways == 5, "back; not, and given back or not; fenced, with memory or without");

}  // namespace
}  // namespace tether::proof
