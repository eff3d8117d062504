// SPDX-License-Identifier: BSL-1.0
// The successors of a state, each once. A container stops only before a visible act; an invisible
// one runs together with the act before it. `reduction.hpp` says why that is enough.
#pragma once

#include <tether/attach/lifecycle/plans.hpp>
#include <tether/attach/lifecycle/steps.hpp>
#include <tether/core/attachment.hpp>
#include <tether/inhibit/membership.hpp>
#include <tether/proof/model/abstraction.hpp>
#include <tether/proof/model/acts.hpp>
#include <tether/proof/model/event.hpp>
#include <tether/proof/model/kernel.hpp>
#include <tether/proof/model/property.hpp>
#include <tether/proof/model/reduction.hpp>
#include <tether/proof/model/requests.hpp>
#include <tether/proof/model/state.hpp>
#include <tether/proof/search/coverage.hpp>

#include <cstddef>
#include <cstdint>

namespace tether::proof {

/// A successor: the state that an event leads to, and the event.
template <class Scope>
struct successor {
  world<Scope> here;  ///< the state that it led to
  event by{};         ///< the event
  report said{};      ///< what else it did
};

/// The transition relation of the model.
template <class Abstraction, class Scope>
class transition {
  using lifecycle = typename Abstraction::lifecycle;
  using code = typename Abstraction::code;
  using acts_of = acts<Abstraction, Scope>;
  using container_type = container_state<Scope>;
  using successor_type = successor<Scope>;
  static constexpr bool of_groups = Abstraction::unit == attach_unit::group;

 public:
  /// Calls `visit(successor)` for each successor, until it returns false; returns whether it never
  /// did. Balloon and guest come last, so that of several shortest counterexamples the one in which
  /// they act last is reported.
  template <class Visit>
  static constexpr bool for_each(world<Scope> const& from, Visit&& visit) {
    for (std::size_t which = 0; which < Scope::containers; ++which) {
      container_type const& container = from.containers[which];
      if (!container.at_rest() && !container.diverged &&
          independent_act<Abstraction::unit>(acts_of::next(container))) {
        return step_on(successor_of(from, which, actor::container), which, visit);
      }
    }
    for (std::size_t which = 0; which < Scope::containers; ++which) {
      container_type const& container = from.containers[which];
      if (symmetric_to_earlier(from.containers, which)) continue;
      const bool goes_on = container.diverged ? abandon(from, which, visit)
                           : container.at_rest()
                               ? begin_each(from, which, visit)
                               : step_on(successor_of(from, which, actor::container), which, visit);
      if (!goes_on) return false;
    }
    if (from.absent) {
      successor_type next{from, {.who = actor::guest}};
      touch(next.here);
      if (!visit(next)) return false;
    }
    if (from.permit) {
      successor_type next{from, {.who = actor::discard}};
      next.here.permit = false;
      discard(next.here);
      return visit(next);
    }
    if (!gate_open<Abstraction>(from)) return true;
    if constexpr (code::gate_drains && Scope::permit == permits::momentary) {
      successor_type next{from, {.who = actor::discard}};
      discard(next.here);
      return next.here.absent == from.absent || visit(next);
    } else {
      successor_type next{from, {.who = actor::permit}};
      next.here.permit = true;
      return visit(next);
    }
  }

 private:
  [[nodiscard]] static constexpr successor_type successor_of(world<Scope> const& from,
                                                             std::size_t which,
                                                             actor who) noexcept {
    event by{.who = who, .container = static_cast<std::uint8_t>(which)};
    container_type const& container = from.containers[which];
    if (!container.at_rest()) by.group = static_cast<std::uint8_t>(container.active);
    return {from, by, {}};
  }

  /// Success only: an `abandon` that fails changes nothing in the model, and may be retried.
  template <class Visit>
  static constexpr bool abandon(world<Scope> const& from, std::size_t which, Visit& visit) {
    successor_type next = successor_of(from, which, actor::abandoner);
    container_type& container = next.here.containers[which];
    const page_relation page = container.page;
    container = {};
    clear_absent_if_unmapped(next.here);
    if constexpr (!code::abandon_unpins) container.diverged = true, container.page = page;
    return visit(next);
  }

  /// Begins each operation that a caller may request.
  template <class Visit>
  static constexpr bool begin_each(world<Scope> const& from, std::size_t which, Visit& visit) {
    return requests<Abstraction, Scope>::for_each(
        from.containers[which],
        [&](request const& asked) { return begin(from, which, asked, visit); });
  }
  template <class Visit>
  static constexpr bool begin(world<Scope> const& from, std::size_t which, request const& asked,
                              Visit& visit) {
    successor_type next = successor_of(from, which, actor::caller);
    next.by.group = static_cast<std::uint8_t>(asked.group), next.by.begins = asked.makes,
    next.by.agrees = asked.agrees, next.by.mediated = asked.mediated;
    container_type& container = next.here.containers[which];
    group_state& group = container.groups[asked.group];
    container.at = cursor{asked.runs};
    container.active = asked.group;
    container.agrees = asked.agrees;
    group.mediated = asked.mediated;
    container.device = {};
    if (asked.makes == change::close || asked.makes == change::detach_device) {
      (asked.agrees == consent::given ? group.consenting : group.declining) -= 1;
      const bool alone = !of_groups;
      container.device = {true, alone, alone, alone && tells_of<lifecycle>};
    }
    run_invisible_acts(next.here, which, next.said);
    return container.at_rest() ? visit(next) : step_on(next, which, visit);
  }

  /// One visible act, with each outcome that it can have.
  template <class Visit>
  static constexpr bool step_on(successor_type const& from, std::size_t which, Visit& visit) {
    container_type const& container = from.here.containers[which];
    const act now = acts_of::next(container);
    for (const outcome how : detail::all_outcomes) {
      if (!can_end<Abstraction>(now, how) || (container.replay_will_fail && how == outcome::done))
        continue;
      // a gate that drains takes the hold only after the discard in progress
      if (now == act::raise_holds && how == outcome::done && code::gate_drains && from.here.permit)
        continue;
      successor_type next = from;
      next.by.what = now, next.by.how = how, next.by.undoing = container.at.backward;
      end(next, which, now, how);
      if (!visit(next)) return false;
    }
    if (now != act::replay || container.replay_will_fail) return true;
    successor_type next = from;
    next.by.what = now, next.by.undoing = container.at.backward, next.by.half_way = true;
    acts_of::perform(next.here, which, now, next.said);
    next.here.containers[which].replay_will_fail = true;
    return visit(next);
  }
  static constexpr void end(successor_type& next, std::size_t which, act now,
                            outcome how) noexcept {
    container_type& container = next.here.containers[which];
    const bool has_mapped = container.replay_will_fail;
    container.replay_will_fail = false;
    if (has_mapped && how == outcome::failed) {
      acts_of::perform(next.here, which, act::withdraw, next.said);
    } else if (!has_mapped && (how == outcome::done ||
                               (how == outcome::stuck && acts_of::worst_when_stuck(now)))) {
      acts_of::perform(next.here, which, now, next.said);
    }
    next.said.reached.add(now, how);
    container.at = Abstraction::plan_table::advance(container.at, how);
    run_invisible_acts(next.here, which, next.said);
  }

  /// Runs acts while they are invisible: holds are raised or lowered visibly only where the gate is
  /// asked for any, or given any back.
  static constexpr void run_invisible_acts(world<Scope>& here, std::size_t which,
                                           report& said) noexcept {
    container_type& container = here.containers[which];
    while (container.at.ended == ending::none) {
      const act now = acts_of::next(container);
      outcome how = outcome::done;
      if (now == act::judge) how = acts_of::allowed(container) ? outcome::done : outcome::failed;
      else if (now == act::raise_holds   ? acts_of::raises(container)
               : now == act::lower_holds ? acts_of::lowers(container)
                                         : !invisible_act(now))
        return;
      acts_of::perform(here, which, now, said);
      said.reached.add(now, how);
      container.at = Abstraction::plan_table::advance(container.at, how);
    }
    said.reached.add(container.at.in, container.at.ended);
    finish(here, which, said);
  }
  /// The operation has ended. A container that has diverged stays as it is; else the device is
  /// counted with the open ones or is gone, and a group's record is dropped where the container
  /// drops it.
  static constexpr void finish(world<Scope>& here, std::size_t which, report& said) noexcept {
    container_type& container = here.containers[which];
    const ending how = container.at.ended;
    const change made = acts_of::makes(container);
    container.at = {};
    if (how == ending::diverged) {
      container.diverged = true;
      return;
    }
    group_state& group = container.groups[container.active];
    const device_state device = container.device;
    const bool whole =
        of_groups || (device.bound && device.joined && device.in_kvm == tells_of<lifecycle>);
    if (device.open ? !whole : device.bound || device.joined || device.in_kvm)
      said.broken |= bit(property::left_behind);
    if (of_groups ? device.open : device.joined)
      (container.agrees == consent::given ? group.consenting : group.declining) += 1;
    container.active = container_type::no_group;
    container.agrees = consent::none;
    container.device = {};
    const bool attached = made == change::attach || made == change::attach_device;
    const bool detached = made == change::detach || made == change::detach_device;
    const bool gone =
        (attached && how == ending::rolled_back) || (detached && how == ending::finished);
    if (!gone || (!of_groups && group.declining + group.consenting != 0)) return;
    here.leaked = here.leaked || group.held != 0;
    if (group.counts != group_counts{}) said.broken |= bit(property::wrong_counts);
    group.counts = {};
    group.held = 0;
    if (!group.joined && group.declining + group.consenting == 0) group.mediated = false;
  }
};

}  // namespace tether::proof
