// SPDX-License-Identifier: BSL-1.0
// The steps of a source in the units' model: what each changes, and which is next.
#pragma once

#include <tether/core/detail/unit_rules.hpp>
#include <tether/proof/model/property.hpp>
#include <tether/proof/units/coverage.hpp>
#include <tether/proof/units/follower_steps.hpp>
#include <tether/proof/units/machinery.hpp>
#include <tether/proof/units/property.hpp>
#include <tether/proof/units/state.hpp>

#include <cstddef>
#include <cstdint>

namespace tether::proof {

/// Each step changes a successor in place. `move_on` goes to the next step, `run_on` runs what
/// nobody sees.
template <class Abstraction, class Scope>
class source_calls {
  using code = typename Abstraction::code;
  using successor_type = unit_successor<Scope>;

 public:
  /// Says what was called, and how it ended.
  static constexpr void note(successor_type& next, unit_call what, unit_outcome how) noexcept {
    next.by.what = what, next.by.how = how;
    next.said.reached.add(what, how);
  }

  // The steps.

  /// Makes the memory resident.
  static constexpr void bring_in(successor_type& next, std::size_t which, unit_outcome how) {
    note(next, unit_call::bring_in, how);
    // of one that is fenced the first access brings in what is missing
    if (how == unit_outcome::done || next.here.sources[which].doing == source_task::fence)
      next.here.memory_there = true;
    move_on(next, which, how);
  }
  /// Becomes one who tells, if nobody enrols.
  static constexpr void enter(successor_type& next, std::size_t which, unit_outcome) {
    const bool enters = code::may_tell(next.here.turns);
    note(next, unit_call::enter, enters ? unit_outcome::done : unit_outcome::failed);
    if (enters) {
      next.here.sources[which].telling = true;
      ++next.here.turns.telling;
    } else {
      judge_busy(next);
    }
    move_on(next, which, next.by.how);
  }
  /// Takes the locks of all who follow, if they are free.
  static constexpr void lock(successor_type& next, std::size_t which, unit_outcome) {
    bool free = true;
    for (follower_state const& one : next.here.containers)
      free = free && !(one.followed && one.locked);
    note(next, unit_call::lock, free ? unit_outcome::done : unit_outcome::failed);
    if (!free) judge_busy(next);
    for (follower_state& one : next.here.containers)
      one.locked = one.locked || (free && one.followed);
    move_on(next, which, next.by.how);
  }
  /// Tells the next container to map or unmap the unit.
  static constexpr void told(successor_type& next, std::size_t which, bool map, bool refuses,
                             unit_outcome how) {
    user_state& one = next.here.sources[which];
    follower_state& asked = next.here.containers[one.at];
    if (!refuses) {
      detail::call_backend(asked, map, how, next.said);
      asked.mapped = code::is_mapped_after(map, how);
    }
    asked.changed = asked.touched = how == unit_outcome::done;
    if (how == unit_outcome::stuck) diverge(asked);
    if (how != unit_outcome::done) one.ended = worse(one.ended, how);
    if (how != unit_outcome::done && one.doing != source_task::fence) {
      one.undo_before = one.at;
      one.at = 0;
      if (one.undo_before == 0) return move_on(next, which, one.ended);
    } else {
      ++one.at;
    }
    run_on(next, which);
  }
  /// Rolls back the next of those that were told.
  static constexpr void undo(successor_type& next, std::size_t which, unit_outcome how) {
    user_state& one = next.here.sources[which];
    follower_state& asked = next.here.containers[one.at];
    const bool map = one.doing == source_task::discard;
    next.by.told = one.at;
    note(next, map ? unit_call::map_again : unit_call::unmap_again, how);
    detail::call_backend(asked, map, how, next.said);
    asked.mapped = code::is_mapped_after(map, how);
    if (how != unit_outcome::done) {
      if (!asked.touched) next.said.broken |= bit(unit_property::needless_divergence);
      diverge(asked);
      one.ended = unit_outcome::stuck;
    }
    ++one.at;
    run_on(next, which);
  }
  /// Discards the memory.
  static constexpr void empty(successor_type& next, std::size_t which, unit_outcome how) {
    note(next, unit_call::empty, how);
    if (how == unit_outcome::done) next.here.memory_there = false;
    move_on(next, which, how);
  }
  /// Writes down what has become of the unit.
  static constexpr void settle(successor_type& next, std::size_t which, unit_outcome) {
    note(next, unit_call::settle, unit_outcome::done);
    user_state& one = next.here.sources[which];
    const bool discards = one.doing == source_task::discard;
    next.here.present = !discards;
    if (!discards)
      next.here.may_be_mapped =
          code::after_populate(next.here.record(), unit_outcome::done).may_be_mapped;
    one.wants = one.gave = discards;
    for (follower_state& container : next.here.containers) {
      const bool fenced = one.doing == source_task::fence && one.ended != unit_outcome::done;
      const bool concerned = container.attached || container.doing == follower_task::attach;
      container.without = fenced && concerned && !container.reaches;
    }
    move_on(next, which, unit_outcome::done);
  }
  /// Discards again what was made resident in vain.
  static constexpr void give_back(successor_type& next, std::size_t which, unit_outcome how) {
    note(next, unit_call::give_back, how);
    if (how == unit_outcome::done) next.here.memory_there = false;
    next.here.sources[which].step = unit_step::ended;
    run_on(next, which);
  }

  /// A step has ended.
  static constexpr void move_on(successor_type& next, std::size_t which, unit_outcome how) {
    user_state& one = next.here.sources[which];
    one.ended = worse(one.ended, how);
    one.step = code::after(one.doing, one.step, how);
    one.at = 0;
    if (one.step == unit_step::take_back) {
      one.undo_before = static_cast<std::uint8_t>(Scope::containers);
      one.step = unit_step::tell;
    }
    run_on(next, which);
  }
  /// Runs what nobody sees, up to the next event.
  static constexpr void run_on(successor_type& next, std::size_t which) {
    user_state& one = next.here.sources[which];
    if (one.undo_before != 0) {
      for (; one.at != one.undo_before; ++one.at) {
        follower_state const& asked = next.here.containers[one.at];
        if (asked.followed && code::is_undone(asked.changed, one.at)) return;
      }
      one.undo_before = 0;
      one.at = 0;
      one.step = code::after(one.doing, unit_step::tell, one.ended);
    }
    if (one.step == unit_step::tell) {
      for (; one.at != Scope::containers && one.step == unit_step::tell; ++one.at) {
        if (is_told(next, which)) return;
      }
      return move_on(next, which, unit_outcome::done);
    }
    if (one.step == unit_step::give_back || one.step == unit_step::ended) leave(next.here, one);
    if (one.step == unit_step::give_back && !is_given_back(next.here, one))
      one.step = unit_step::ended;
    if (one.step == unit_step::ended) finish(next, which);
  }

 private:
  [[nodiscard]] static constexpr unit_outcome worse(unit_outcome one, unit_outcome other) noexcept {
    return one > other ? one : other;
  }
  static constexpr void diverge(follower_state& one) noexcept {
    one.diverged = true;
    one.attached = one.without = false;
  }
  static constexpr void judge_busy(successor_type& next) noexcept {
    for (follower_state const& one : next.here.containers) {
      if (!one.at_rest()) return;
    }
    next.said.broken |= bit(unit_property::needless_refusal);
  }
  /// Whether the container at hand is told, and has something to do.
  [[nodiscard]] static constexpr bool is_told(successor_type& next, std::size_t which) noexcept {
    user_state& one = next.here.sources[which];
    follower_state& asked = next.here.containers[one.at];
    asked.changed = asked.touched = false;
    if (!asked.followed && one.telling) return false;
    const bool map = one.doing != source_task::discard;
    if (one.doing == source_task::fence && (!one.telling || asked.locked)) {
      // busy: it goes without
      if (asked.followed || !asked.at_rest()) one.ended = worse(one.ended, unit_outcome::failed);
      return false;
    }
    return code::answer_of(map, asked.mapped, asked.diverged) !=
           tether::detail::unit_answer::nothing;
  }
  [[nodiscard]] static constexpr bool is_given_back(unit_world<Scope>& here,
                                                    user_state const& one) noexcept {
    here.may_be_mapped = code::after_populate(here.record(), one.ended).may_be_mapped;
    return code::is_given_back(here.record(), one.ended);
  }
  static constexpr void leave(unit_world<Scope>& here, user_state& one) noexcept {
    if (!one.telling) return;
    one.telling = false;
    --here.turns.telling;
    for (follower_state& container : here.containers) {
      container.changed = container.touched = false;
      if (container.at_rest()) container.locked = false;
    }
  }
  static constexpr void finish(successor_type& next, std::size_t which) noexcept {
    user_state& one = next.here.sources[which];
    next.said.reached.add(one.doing, one.ended);
    const bool keeps = one.doing == source_task::populate && one.ended != unit_outcome::done;
    const bool gone = one.doing == source_task::discard && one.ended == unit_outcome::done;
    one = {.wants = one.wants, .gave = keeps || gone};
    next.here.changing = false;
  }
};

}  // namespace tether::proof
