// SPDX-License-Identifier: BSL-1.0
// The successors of a state, each once. A container stops only before an act that is visible from
// outside or can fail; an invisible one (the tallies, a hold that is there already) runs together
// with the act before it (partial-order reduction).
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
#include <tether/proof/model/state.hpp>
#include <tether/proof/search/coverage.hpp>

#include <cstddef>
#include <cstdint>

namespace tether::proof {

/// A successor: the state that an event leads to, and the event.
template <class Scope>
struct successor {
  world<Scope> here;
  event by{};
  report said{};
};

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
          independent_act(acts_of::next(container))) {
        return step_on(successor_of(from, which, actor::container), which, visit);
      }
    }
    for (std::size_t which = 0; which < Scope::containers; ++which) {
      container_type const& container = from.containers[which];
      if (symmetric_to_earlier(from, which)) continue;
      const bool goes_on = container.diverged ? abandon(from, which, visit)
                           : container.at_rest()
                               ? begin_something(from, which, visit)
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
  /// Symmetry reduction: a container or group equal to an earlier one has equivalent successors.
  [[nodiscard]] static constexpr bool symmetric_to_earlier(world<Scope> const& from,
                                                           std::size_t which) noexcept {
    for (std::size_t i = 0; i < which; ++i) {
      if (from.containers[i] == from.containers[which]) return true;
    }
    return false;
  }
  [[nodiscard]] static constexpr bool symmetric_to_earlier(container_type const& container,
                                                           std::size_t at) noexcept {
    for (std::size_t i = 0; i < at; ++i) {
      if (container.groups[i] == container.groups[at]) return true;
    }
    return false;
  }
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
    overlook(next.here);
    if constexpr (!code::abandon_unpins) container.diverged = true, container.page = page;
    return visit(next);
  }

  // The operations that a caller can begin, as in `attach/detail/group_operations.hpp` and
  // `attach/detail/device_operations.hpp`.
  template <class Visit>
  static constexpr bool begin_something(world<Scope> const& from, std::size_t which, Visit& visit) {
    container_type const& container = from.containers[which];
    const std::uint32_t members = container.counts().members;
    const operation attach = members == 0 ? operation::attach_first : operation::attach_next;
    for (std::size_t at = 0; at < Scope::groups; ++at) {
      if (symmetric_to_earlier(container, at)) continue;
      group_state const& group = container.groups[at];
      const std::uint32_t open = group.declining + group.consenting;
      const operation detach = members == 1 && (of_groups || group.counts.open() == 1)
                                   ? operation::detach_last
                                   : operation::detach_next;
      if (of_groups && !group.counts.attached) {
        if (!attach_either(from, which, at, attach, change::attach, consent::none, visit))
          return false;
        continue;
      }
      if (of_groups && open == 0 &&
          !begin(from, which, at, detach, change::detach, consent::none, group.mediated, visit))
        return false;
      for (const consent agrees : {consent::none, consent::given}) {
        const std::uint32_t there = agrees == consent::given ? group.consenting : group.declining;
        if (of_groups) {
          if (open < Scope::devices &&
              !begin(from, which, at, operation::open, change::open, agrees, group.mediated, visit))
            return false;
          if (there != 0 && !begin(from, which, at, operation::close, change::close, agrees,
                                   group.mediated, visit))
            return false;
        } else {
          if (open < Scope::devices &&
              !attach_either(from, which, at, attach, change::attach_device, agrees, visit))
            return false;
          if (there != 0 &&
              !begin(from, which, at, detach, change::detach_device, agrees, group.mediated, visit))
            return false;
        }
      }
    }
    return true;
  }
  /// Whether a group is mediated is decided when the group or its first device attaches: each case
  /// that the backend can have is tried.
  template <class Visit>
  static constexpr bool attach_either(world<Scope> const& from, std::size_t which, std::size_t at,
                                      operation what, change begins, consent agrees, Visit& visit) {
    group_state const& group = from.containers[which].groups[at];
    if (group.joined || group.declining + group.consenting != 0)
      return begin(from, which, at, what, begins, agrees, group.mediated, visit);
    return (!Abstraction::pins || begin(from, which, at, what, begins, agrees, false, visit)) &&
           begin(from, which, at, what, begins, agrees, true, visit);
  }
  template <class Visit>
  static constexpr bool begin(world<Scope> const& from, std::size_t which, std::size_t at,
                              operation what, change begins, consent agrees, bool mediated,
                              Visit& visit) {
    successor_type next = successor_of(from, which, actor::caller);
    next.by.group = static_cast<std::uint8_t>(at), next.by.begins = begins, next.by.agrees = agrees,
    next.by.mediated = mediated;
    container_type& container = next.here.containers[which];
    container.at = cursor{what};
    container.active = at;
    container.agrees = agrees;
    container.groups[at].mediated = mediated;
    container.device = {};
    if (begins == change::close || begins == change::detach_device) {
      (agrees == consent::given ? container.groups[at].consenting
                                : container.groups[at].declining) -= 1;
      const bool alone = !of_groups;
      container.device = {true, alone, alone, alone && tells_of<lifecycle>};
    }
    run_unseen(next.here, which, next.said);
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
      // waits for the discard
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
    run_unseen(next.here, which, next.said);
  }

  /// Runs invisible acts: they change the container's own counts alone, so when they run makes no
  /// difference.
  static constexpr void run_unseen(world<Scope>& here, std::size_t which, report& said) noexcept {
    container_type& container = here.containers[which];
    while (container.at.ended == ending::none) {
      const act now = acts_of::next(container);
      outcome how = outcome::done;
      if (now == act::judge) how = acts_of::allowed(container) ? outcome::done : outcome::failed;
      else if (now == act::raise_holds   ? acts_of::raises(container)
               : now == act::lower_holds ? acts_of::lowers(container)
                                         : !unseen(now))
        return;
      acts_of::perform(here, which, now, said);
      said.reached.add(now, how);
      container.at = Abstraction::plan_table::advance(container.at, how);
    }
    said.reached.add(container.at.in, container.at.ended);
    finish(here, which, said);
  }
  [[nodiscard]] static constexpr bool unseen(act what) noexcept {
    return what == act::nothing || what == act::commit || what == act::release;
  }

  /// An independent act (partial-order reduction): it can fail, but pins and unpins nothing.
  /// Whether others act before or after it makes no difference, so only the order in which they act
  /// after it is searched. It is still an event of its own, because it has several outcomes.
  [[nodiscard]] static constexpr bool independent_act(act what) noexcept {
    return what == act::acquire || what == act::add_to_kvm || what == act::remove_from_kvm ||
           what == act::bind || (!of_groups && what == act::open);
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
        of_groups || (device.bound && device.joined && device.told == tells_of<lifecycle>);
    if (device.open ? !whole : device.bound || device.joined || device.told)
      said.broken |= bit(property::left_behind);
    if (of_groups ? device.open : device.joined)
      (container.agrees == consent::given ? group.consenting : group.declining) += 1;
    container.active = container_type::nobody;
    container.agrees = consent::none;
    container.device = {};
    const bool attached = made == change::attach || made == change::attach_device;
    const bool detached = made == change::detach || made == change::detach_device;
    const bool gone =
        (attached && how == ending::rolled_back) || (detached && how == ending::finished);
    if (!gone || (!of_groups && group.declining + group.consenting != 0)) return;
    here.leaked = here.leaked || group.held != 0;
    if (group.counts != group_counts{}) said.broken |= bit(property::wrong_books);
    group.counts = {};
    group.held = 0;
    if (!group.joined && group.declining + group.consenting == 0) group.mediated = false;
  }
};

}  // namespace tether::proof
