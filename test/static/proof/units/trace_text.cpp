// SPDX-License-Identifier: BSL-1.0
// Counterexamples and gaps of a search of units, in words.
#include <tether/proof/units/trace_text.hpp>

namespace tether::proof {
namespace {

constexpr basic_trace<unit_event> way = [] {
  basic_trace<unit_event> events{};
  events.push({.who = 1,
               .container_does = follower_task::attach,
               .what = unit_call::enrol,
               .how = unit_outcome::stuck});
  events.push({.by_source = true,
               .source_does = source_task::discard,
               .what = unit_call::refuse,
               .told = 1,
               .how = unit_outcome::failed});
  return events;
}();
static_assert(describe_trace(bit(unit_property::left_behind) | bit(unit_property::waits_for_ever),
                             way)
                  .view() ==
              "something left behind after: container 1: attach: maps, gets stuck; source 0: "
              "discard: container 1 refuses");
static_assert(describe_trace(0, way).view().empty());

constexpr unit_coverage gap = [] {
  unit_coverage all{};
  all.add(unit_call::map, unit_outcome::failed);
  all.add(follower_task::detach, unit_outcome::stuck);
  return all;
}();
static_assert(describe_trace(gap).view() == "maps fails; detach gets stuck");

}  // namespace
}  // namespace tether::proof
