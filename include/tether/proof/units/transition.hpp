// SPDX-License-Identifier: BSL-1.0
// The successors of a state of the units' model.
#pragma once

#include <tether/proof/model/reduction.hpp>
#include <tether/proof/units/coverage.hpp>
#include <tether/proof/units/follower_steps.hpp>
#include <tether/proof/units/property.hpp>
#include <tether/proof/units/source_steps.hpp>
#include <tether/proof/units/state.hpp>

#include <cstddef>

namespace tether::proof {

/// The transition relation of the units' model. Sources that are alike are interchangeable;
/// containers are told in their order, so they are not.
template <class Abstraction, class Scope>
class unit_transition {
 public:
  /// Calls `visit(successor)` for each successor, until it returns false; returns whether it never
  /// did.
  template <class Visit>
  static constexpr bool for_each(unit_world<Scope> const& from, Visit&& visit) {
    for (std::size_t which = 0; which < Scope::containers; ++which) {
      if (!follower_steps<Abstraction, Scope>::for_each(from, which, visit)) return false;
    }
    for (std::size_t which = 0; which < Scope::sources; ++which) {
      if (symmetric_to_earlier(from.sources, which)) continue;
      if (!source_steps<Abstraction, Scope>::for_each(from, which, visit)) return false;
    }
    return !stopped(from) || visit(nobody_goes_on(from));
  }

 private:
  using code = typename Abstraction::code;

  /// Whether somebody is at work, and all who are wait. Sources wait only before they begin.
  [[nodiscard]] static constexpr bool stopped(unit_world<Scope> const& from) noexcept {
    bool waiting = false;
    for (user_state const& one : from.sources) {
      if (one.doing != source_task::rest) return false;
    }
    for (follower_state const& one : from.containers) {
      if (one.at_rest()) continue;
      if (one.step != follower_step::wait || code::may_open(from.turns)) return false;
      waiting = true;
    }
    return waiting || from.changing;
  }
  [[nodiscard]] static constexpr unit_successor<Scope> nobody_goes_on(
      unit_world<Scope> const& from) noexcept {
    unit_successor<Scope> next{from, {.what = unit_call::wait}, {}};
    next.said.broken = bit(unit_property::waits_for_ever);
    return next;
  }
};

}  // namespace tether::proof
