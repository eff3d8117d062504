// SPDX-License-Identifier: BSL-1.0
// What a source does in the units' model: it discards, populates, or populates in any case. A call
// into a backend or the kernel, or a lock that others see, is an event; whatever else happens goes
// with the event before.
#pragma once

#include <tether/core/detail/unit_rules.hpp>
#include <tether/inhibit/kinds.hpp>
#include <tether/proof/model/property.hpp>
#include <tether/proof/units/coverage.hpp>
#include <tether/proof/units/event.hpp>
#include <tether/proof/units/follower_steps.hpp>
#include <tether/proof/units/machinery.hpp>
#include <tether/proof/units/property.hpp>
#include <tether/proof/units/source_calls.hpp>
#include <tether/proof/units/state.hpp>

#include <cstddef>
#include <cstdint>

namespace tether::proof {

/// What a source does: discard, populate, fence.
template <class Abstraction, class Scope>
class source_steps {
  using code = typename Abstraction::code;
  using calls = source_calls<Abstraction, Scope>;
  using successor_type = unit_successor<Scope>;

 public:
  /// Calls `visit(successor)` for each of its next events, until it returns false.
  template <class Visit>
  static constexpr bool for_each(unit_world<Scope> const& from, std::size_t which, Visit& visit) {
    user_state const& one = from.sources[which];
    if (one.doing != source_task::rest) return go_on(from, which, visit);
    if (from.changing) return true;  // it waits
    if (!one.gave) return begin(from, which, source_task::discard, visit);
    return begin(from, which, source_task::populate, visit) &&
           begin(from, which, source_task::fence, visit);
  }

 private:
  [[nodiscard]] static constexpr successor_type successor_of(unit_world<Scope> const& from,
                                                             std::size_t which) noexcept {
    return {from,
            {.by_source = true,
             .who = static_cast<std::uint8_t>(which),
             .source_does = from.sources[which].doing},
            {}};
  }
  [[nodiscard]] static constexpr bool inhibited(unit_world<Scope> const& here) noexcept {
    std::uint32_t held = 0;
    for (follower_state const& one : here.containers) held += one.holds() ? 1U : 0U;
    return !detail::coordinated_allowed(Abstraction::holds, held);
  }
  template <class Visit>
  static constexpr bool begin(unit_world<Scope> const& from, std::size_t which, source_task what,
                              Visit& visit) {
    using tether::detail::unit_task;
    successor_type next = successor_of(from, which);
    next.by.source_does = what;
    user_state& one = next.here.sources[which];
    const bool discards = what == source_task::discard;
    if (discards && inhibited(from)) {
      // every container here could unmap it
      next.by.what = unit_call::inhibited;
      next.said.broken |= bit(unit_property::needless_refusal);
      return visit(next);
    }
    const unit_task task = discards ? code::task_of_discard(from.record(), one.wants)
                                    : code::task_of_populate(from.record(), one.wants);
    one.gave = discards || task == unit_task::change;
    if (task == unit_task::change) {
      one.doing = what;
      one.step = code::first(what);
      next.here.changing = true;
      calls::run_on(next, which);
    } else {
      next.by.what = unit_call::agree;
      next.said.reached.add(unit_call::agree, unit_outcome::done);
      one.wants = task == unit_task::note || (task == unit_task::nothing && one.wants);
    }
    return deliver(next, which, visit);
  }

  template <class Visit>
  static constexpr bool go_on(unit_world<Scope> const& from, std::size_t which, Visit& visit) {
    user_state const& now = from.sources[which];
    if (now.undo_before != 0) return undo(from, which, visit);
    switch (now.step) {
      case unit_step::bring_in: return two_ways(from, which, visit, calls::bring_in);
      case unit_step::enter: return one_way(from, which, visit, calls::enter);
      case unit_step::lock: return one_way(from, which, visit, calls::lock);
      case unit_step::tell: return tell(from, which, visit);
      case unit_step::empty: return two_ways(from, which, visit, calls::empty);
      case unit_step::settle: return one_way(from, which, visit, calls::settle);
      case unit_step::give_back: return two_ways(from, which, visit, calls::give_back);
      default: return true;
    }
  }
  template <class Visit, class Do>
  static constexpr bool one_way(unit_world<Scope> const& from, std::size_t which, Visit& visit,
                                Do act) {
    successor_type next = successor_of(from, which);
    act(next, which, unit_outcome::done);
    return deliver(next, which, visit);
  }
  template <class Visit, class Do>
  static constexpr bool two_ways(unit_world<Scope> const& from, std::size_t which, Visit& visit,
                                 Do act) {
    for (const unit_outcome how : {unit_outcome::done, unit_outcome::failed}) {
      successor_type next = successor_of(from, which);
      act(next, which, how);
      if (!deliver(next, which, visit)) return false;
    }
    return true;
  }
  template <class Visit>
  static constexpr bool undo(unit_world<Scope> const& from, std::size_t which, Visit& visit) {
    for (const unit_outcome how : detail::all_unit_outcomes) {
      successor_type next = successor_of(from, which);
      calls::undo(next, which, how);
      if (!deliver(next, which, visit)) return false;
    }
    return true;
  }
  /// The next container maps or unmaps it.
  template <class Visit>
  static constexpr bool tell(unit_world<Scope> const& from, std::size_t which, Visit& visit) {
    user_state const& now = from.sources[which];
    follower_state const& asked = from.containers[now.at];
    const bool map = now.doing != source_task::discard;
    const bool refuses =
        code::answer_of(map, asked.mapped, asked.diverged) == tether::detail::unit_answer::refuse;
    for (const unit_outcome how : detail::all_unit_outcomes) {
      if (refuses && how != unit_outcome::failed) continue;
      successor_type next = successor_of(from, which);
      next.by.told = now.at;
      calls::note(next, refuses ? unit_call::refuse : map ? unit_call::map : unit_call::unmap, how);
      calls::told(next, which, map, refuses, how);
      if (!deliver(next, which, visit)) return false;
    }
    return true;
  }
  /// Visits a successor; merged with it, first what commutes with all that others do.
  template <class Visit>
  static constexpr bool deliver(successor_type& next, std::size_t which, Visit& visit) {
    if constexpr (Scope::steps == unit_steps::merged) {
      user_state const& one = next.here.sources[which];
      while (one.undo_before == 0) {
        const unit_step step = one.step;
        if (step == unit_step::enter) {
          calls::enter(next, which, unit_outcome::done);
        } else if (step == unit_step::lock) {
          calls::lock(next, which, unit_outcome::done);
        } else if (step == unit_step::settle && one.telling && tells_alone<code>) {
          calls::settle(next, which, unit_outcome::done);
        } else if (step == unit_step::bring_in || step == unit_step::give_back) {
          successor_type failing = next;
          step == unit_step::bring_in ? calls::bring_in(next, which, unit_outcome::done)
                                      : calls::give_back(next, which, unit_outcome::done);
          step == unit_step::bring_in ? calls::bring_in(failing, which, unit_outcome::failed)
                                      : calls::give_back(failing, which, unit_outcome::failed);
          return deliver(next, which, visit) && deliver(failing, which, visit);
        } else {
          break;
        }
      }
    }
    return visit(next);
  }
};

}  // namespace tether::proof
