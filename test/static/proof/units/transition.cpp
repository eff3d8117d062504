// SPDX-License-Identifier: BSL-1.0
// Who may go on, and that it is noticed when nobody can.
#include <tether/proof/units/transition.hpp>

#include <cstddef>

namespace tether::proof {
namespace {

using stepwise = unit_scope<2, 2>;

struct tally {
  std::size_t events = 0;
  broken_properties broken = 0;
};
constexpr tally count(unit_world<stepwise> const& from) {
  tally all{};
  unit_transition<unit_abstraction<>, stepwise>::for_each(from, [&](auto const& next) {
    ++all.events;
    all.broken |= next.said.broken;
    return true;
  });
  return all;
}
static_assert(count(unit_world<stepwise>{}).events == 3,
              "each container attaches, one of two equal sources discards");

constexpr unit_world<stepwise> for_ever = [] {
  unit_world<stepwise> from{};
  from.containers[0] = {.locked = true, .doing = follower_task::attach};
  from.changing = true;
  from.turns = {.telling = 1, .enrolling = 1};
  return from;
}();
static_assert(count(for_ever).broken == bit(unit_property::waits_for_ever));
constexpr unit_world<stepwise> not_for_ever = [] {
  unit_world<stepwise> from = for_ever;
  from.turns.telling = 0;
  return from;
}();
static_assert(count(not_for_ever).broken == 0);

}  // namespace
}  // namespace tether::proof
