// SPDX-License-Identifier: BSL-1.0
// What a search needs to know of a model: its states, its events, what is broken. The search is one
// for the model of containers and for that of units.
#pragma once

#include <tether/proof/model/event.hpp>
#include <tether/proof/model/property.hpp>
#include <tether/proof/model/state.hpp>
#include <tether/proof/model/transition.hpp>
#include <tether/proof/search/coverage.hpp>
#include <tether/proof/search/state_key.hpp>
#include <tether/proof/units/coverage.hpp>
#include <tether/proof/units/event.hpp>
#include <tether/proof/units/machinery.hpp>
#include <tether/proof/units/property.hpp>
#include <tether/proof/units/state.hpp>
#include <tether/proof/units/state_key.hpp>
#include <tether/proof/units/transition.hpp>

#include <cstddef>

namespace tether::proof {

/// The model of `Abstraction` in the size of `Scope`.
template <class Abstraction, class Scope>
struct searched_model {
  using world = proof::world<Scope>;                         ///< a state
  using successor = proof::successor<Scope>;                 ///< a state, and how it was reached
  using transition = proof::transition<Abstraction, Scope>;  ///< visits a state's successors
  using key = proof::key<Scope>;                             ///< a packed state
  using packer = proof::packer<Scope>;                       ///< packs and unpacks
  using event = proof::event;                                ///< what happens
  using coverage = proof::coverage;                          ///< what was seen to happen

  /// The properties that are broken in a state.
  [[nodiscard]] static constexpr broken_properties broken_in(world const& here) noexcept {
    return proof::broken_in<Abstraction>(here);
  }
  /// The properties that an event has broken.
  [[nodiscard]] static constexpr broken_properties broken_by(successor const& next,
                                                             bool fits) noexcept {
    if (next.by.who == actor::permit || next.by.who == actor::discard ||
        next.by.who == actor::guest)
      return stale_in(next.here);
    return next.said.broken | broken_in(next.here) | (fits ? 0U : bit(property::unbounded_counts));
  }
};

/// The model of units.
template <hold_kind Holds, class Machinery, class Scope>
struct searched_model<unit_abstraction<Holds, Machinery>, Scope> {
  using world = unit_world<Scope>;          ///< a state
  using successor = unit_successor<Scope>;  ///< a state, and how it was reached
  /// Visits a state's successors.
  using transition = unit_transition<unit_abstraction<Holds, Machinery>, Scope>;
  using key = unit_key<Scope>;        ///< a packed state
  using packer = unit_packer<Scope>;  ///< packs and unpacks
  using event = unit_event;           ///< what happens
  using coverage = unit_coverage;     ///< what was seen to happen

  /// The properties that are broken in a state.
  [[nodiscard]] static constexpr broken_properties broken_in(world const& here) noexcept {
    return broken_in_units(here);
  }
  /// The properties that an event broke, or that are broken where it led to.
  [[nodiscard]] static constexpr broken_properties broken_by(successor const& next, bool) noexcept {
    return next.said.broken | broken_in_units(next.here);
  }
};

}  // namespace tether::proof
