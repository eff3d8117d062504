// SPDX-License-Identifier: BSL-1.0
// What a container does by itself in the units' model, and what its backend does to the unit.
#pragma once

#include <tether/inhibit/kinds.hpp>
#include <tether/proof/model/property.hpp>
#include <tether/proof/units/coverage.hpp>
#include <tether/proof/units/event.hpp>
#include <tether/proof/units/machinery.hpp>
#include <tether/proof/units/property.hpp>
#include <tether/proof/units/state.hpp>

#include <cstddef>
#include <cstdint>

namespace tether::proof {

/// What an event did besides changing the state.
struct unit_report {
  unit_coverage reached{};       ///< the call that it saw end
  broken_properties broken = 0;  ///< the properties that it broke
};
/// A state, and how it was reached.
template <class Scope>
struct unit_successor {
  unit_world<Scope> here;  ///< the state
  unit_event by{};         ///< the event
  unit_report said{};      ///< what else it did
};

namespace detail {

inline constexpr unit_outcome all_unit_outcomes[] = {unit_outcome::done, unit_outcome::failed,
                                                     unit_outcome::stuck};

/// Whether the gate lets units be discarded while `held` holds of that kind are held.
[[nodiscard]] constexpr bool coordinated_allowed(hold_kind kind, std::uint32_t held) noexcept {
  gate_counts counts{};
  counts.of(kind) = held;
  return counts.allow(discard_kind::coordinated);
}

/// The backend of a container maps or unmaps the unit. Of a call that got stuck the worse is
/// assumed: devices reach it.
constexpr void call_backend(follower_state& one, bool map, unit_outcome how,
                            unit_report& said) noexcept {
  if (one.reaches == map) said.broken |= bit(unit_property::forbidden_call);
  if (how == unit_outcome::done) one.reaches = map;
  else if (map && how == unit_outcome::stuck) one.reaches = true;
}

}  // namespace detail

/// What a container does by itself: attach, detach, abandon, other work.
template <class Abstraction, class Scope>
class follower_steps {
  using code = typename Abstraction::code;
  using successor_type = unit_successor<Scope>;

 public:
  /// Calls `visit(successor)` for each of its next events, until it returns false.
  template <class Visit>
  static constexpr bool for_each(unit_world<Scope> const& from, std::size_t which, Visit& visit) {
    follower_state const& one = from.containers[which];
    if (!one.at_rest()) return go_on(from, which, visit);
    if (one.locked) return true;
    if (one.diverged) return begin(from, which, follower_task::abandon, visit);
    if (!one.attached) return !may_hold(from) || begin(from, which, follower_task::attach, visit);
    return begin(from, which, follower_task::detach, visit) &&
           begin(from, which, follower_task::work, visit);
  }

 private:
  /// A hold that forbids coordinated discards is granted when none runs.
  [[nodiscard]] static constexpr bool may_hold(unit_world<Scope> const& from) noexcept {
    if (detail::coordinated_allowed(Abstraction::holds, 1)) return true;
    for (user_state const& one : from.sources) {
      if (one.doing != source_task::rest) return false;
    }
    return true;
  }
  [[nodiscard]] static constexpr successor_type successor_of(unit_world<Scope> const& from,
                                                             std::size_t which) noexcept {
    return {
        from,
        {.who = static_cast<std::uint8_t>(which), .container_does = from.containers[which].doing},
        {}};
  }
  /// Takes the container's lock; then it wants to change who follows.
  template <class Visit>
  static constexpr bool begin(unit_world<Scope> const& from, std::size_t which, follower_task what,
                              Visit& visit) {
    successor_type next = successor_of(from, which);
    next.by.container_does = what;
    follower_state& one = next.here.containers[which];
    one.doing = what;
    one.locked = true;
    if (what == follower_task::abandon) one.reaches = false;
    if (what == follower_task::work) one.step = follower_step::end;
    else ++next.here.turns.enrolling;
    if constexpr (Scope::steps == unit_steps::merged && tells_alone<code>) {
      if (one.step == follower_step::wait && code::may_open(next.here.turns) && !fences(from)) {
        open(next, which);
        if (one.step == follower_step::end) end(next, which);
      }
    }
    return visit(next);
  }
  template <class Visit>
  static constexpr bool go_on(unit_world<Scope> const& from, std::size_t which, Visit& visit) {
    follower_state const& now = from.containers[which];
    if (now.step == follower_step::wait) {
      if (!code::may_open(from.turns)) return true;
      successor_type next = successor_of(from, which);
      next.by.what = unit_call::open;
      open(next, which);
      return visit(next);
    }
    if (now.step == follower_step::call) {
      for (const unit_outcome how : detail::all_unit_outcomes) {
        if (!call(from, which, how, visit)) return false;
      }
      return true;
    }
    successor_type next = successor_of(from, which);
    next.by.what = unit_call::end;
    end(next, which);
    return visit(next);
  }
  /// Whether a source sets what an enrolment reads without having been admitted.
  [[nodiscard]] static constexpr bool fences(unit_world<Scope> const& from) noexcept {
    for (user_state const& one : from.sources) {
      if (one.doing == source_task::fence) return true;
    }
    return false;
  }
  static constexpr void open(successor_type& next, std::size_t which) noexcept {
    follower_state& one = next.here.containers[which];
    next.here.turns.open = true;
    const bool attaches = one.doing == follower_task::attach;
    if (attaches && code::follows_first) one.followed = true;
    const bool calls =
        attaches ? next.here.present : one.doing == follower_task::detach && one.mapped;
    one.step = calls ? follower_step::call : follower_step::end;
  }
  template <class Visit>
  static constexpr bool call(unit_world<Scope> const& from, std::size_t which, unit_outcome how,
                             Visit& visit) {
    successor_type next = successor_of(from, which);
    follower_state& one = next.here.containers[which];
    const bool map = one.doing == follower_task::attach;
    next.by.what = map ? unit_call::enrol : unit_call::withdraw;
    next.by.how = how;
    next.said.reached.add(next.by.what, how);
    detail::call_backend(one, map, how, next.said);
    one.mapped = code::is_mapped_after(map, how);
    one.ended = how;
    one.step = follower_step::end;
    if constexpr (Scope::steps == unit_steps::merged && tells_alone<code>) end(next, which);
    return visit(next);
  }
  static constexpr void end(successor_type& next, std::size_t which) noexcept {
    follower_state& one = next.here.containers[which];
    const follower_task did = one.doing;
    const unit_outcome how = one.ended;
    next.said.reached.add(did, how);
    one.doing = follower_task::rest;
    one.step = follower_step::wait;
    one.ended = unit_outcome::done;
    one.locked = false;
    if (did == follower_task::work) return;
    next.here.turns.open = false;
    --next.here.turns.enrolling;
    if (did == follower_task::abandon) {
      one = {};
      return;
    }
    const bool attaches = did == follower_task::attach;
    one.followed = attaches ? code::is_followed_after_mapping(how)
                            : code::is_followed_after_unmapping(how, next.here.present);
    one.diverged = how == unit_outcome::stuck;
    one.attached = !one.diverged && attaches == (how == unit_outcome::done);
    if (!one.attached) one.without = false;
  }
};

}  // namespace tether::proof
