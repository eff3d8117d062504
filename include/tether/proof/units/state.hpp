// SPDX-License-Identifier: BSL-1.0
// A state of the model of coordinated discards: one unit of memory, the containers that follow it
// and the sources that discard it. As in `model/state.hpp` the facts, which the code never sees,
// stand beside what the code keeps.
//
//     unit_world -- follower    what a container believes, its operation | what its devices reach
//         |   \---- user        what a source wants, its call            | what the guest gave it
//         +-- the unit's record, who tells and who enrols       | whether the memory is there
#pragma once

#include <tether/core/detail/unit_rules.hpp>
#include <tether/proof/units/machinery.hpp>

#include <cstddef>
#include <cstdint>

namespace tether::proof {

/// What a container does, that concerns the unit.
enum class follower_task : std::uint8_t {
  rest,
  attach,   ///< or a change that adds a section: it maps what is there, and follows
  detach,   ///< or one that removes it: it unmaps, and does not follow any more
  abandon,  ///< the kernel's object is gone, so nothing is mapped any more
  work,     ///< anything else under its lock
};
enum class follower_step : std::uint8_t {
  wait,  ///< until nobody tells
  call,  ///< the backend
  end,
};

/// One container, as far as the unit is concerned.
struct follower_state {
  // the code's
  bool mapped = false;                        ///< it may have it mapped
  bool diverged = false;                      ///< it refuses work
  bool followed = false;                      ///< the population tells it
  bool changed = false;                       ///< by the source's call in progress
  bool locked = false;                        ///< its lock is held, by itself or by who tells it
  follower_task doing = follower_task::rest;  ///< its task
  follower_step step = follower_step::wait;   ///< the task's next step
  unit_outcome ended = unit_outcome::done;    ///< how its task will end
  // facts
  bool reaches = false;   ///< its devices reach the unit's memory, or may
  bool attached = false;  ///< its user was told that it is
  bool without = false;   ///< whoever fenced it was told that it goes without the unit
  bool touched = false;   ///< its backend was called, and did it, in the source's call in progress

  friend constexpr bool operator==(follower_state const&, follower_state const&) noexcept = default;

  /// Whether it does nothing.
  [[nodiscard]] constexpr bool at_rest() const noexcept { return doing == follower_task::rest; }
  /// Whether its hold is held: before anything can be mapped, until nothing is.
  [[nodiscard]] constexpr bool holds() const noexcept {
    return attached || diverged || doing == follower_task::attach || doing == follower_task::detach;
  }
};

/// One source of units, and the guest behind it.
struct user_state {
  bool wants = false;                     ///< the code's: it wants the unit gone
  source_task doing = source_task::rest;  ///< its task
  unit_step step = unit_step::ended;      ///< the task's next step
  std::uint8_t at = 0;                    ///< the container that is told next
  /// rolling back: the containers before this one; 0 if not
  std::uint8_t undo_before = 0;
  bool telling = false;                     ///< counts as one who tells
  unit_outcome ended = unit_outcome::done;  ///< how its task will end
  bool gave = false;  ///< a fact: the guest gave the unit, and was not told that it is back

  friend constexpr bool operator==(user_state const&, user_state const&) noexcept = default;
};

/// The whole state.
template <class Scope>
struct unit_world {
  follower_state containers[Scope::containers]{};  ///< all of them
  user_state sources[Scope::sources]{};            ///< all of them
  bool present = true;                             ///< the code's: the unit is there
  bool changing = false;                           ///< the code's: a call about it is in progress
  bool may_be_mapped = false;                      ///< the code's: somebody may have it mapped
  tether::detail::telling_and_enrolling turns{};   ///< who tells, and who enrols
  bool memory_there = true;                        ///< a fact

  /// What the code keeps of the unit.
  [[nodiscard]] constexpr tether::detail::unit_record record() const noexcept {
    tether::detail::unit_record now{
        .present = present, .changing = changing, .may_be_mapped = may_be_mapped};
    for (auto const& one : sources)
      now.wanted_gone = static_cast<std::uint16_t>(now.wanted_gone + (one.wants ? 1 : 0));
    return now;
  }
  /// Whether the guest may use the unit.
  [[nodiscard]] constexpr bool guest_uses() const noexcept {
    for (auto const& one : sources) {
      if (one.gave) return false;
    }
    return true;
  }
};

}  // namespace tether::proof
