// SPDX-License-Identifier: BSL-1.0
// In which order things happen, and how they are taken back. A plan is data: steps, each with the act that
// undoes it, so that an undo in the wrong order cannot be written down. `advance` says what comes next; the
// runtime unfolds it at compile time and the proof walks it, so both run the very same plans (law 28).
//
//     forward:   step 0 --done--> step 1 --done--> ... --> finished
//                                   | failed
//     backward:  step 0 <-----------+                  --> rolled_back
//                                   | stuck, or an undo that fails
//                                   +------------------> diverged   (keeps its holds, law 6)
#pragma once

#include <tether/core/policies.hpp>
#include <tether/inhibit/books.hpp>

#include <array>
#include <cstddef>
#include <cstdint>

namespace tether {

/// What can be done. Each is the whole of one step.
enum class act : std::uint8_t {
  nothing,
  judge,     ///< is this opening allowed? touches nothing
  hold,      ///< raise the holds to what the books need after the change
  settle,    ///< lower the holds to what the books need now
  join,      ///< the backend takes the group in: a pin point
  leave,     ///< the backend lets the group go
  replay,    ///< map everything, and follow the guest's memory map
  withdraw,  ///< stop following, wait for DMA in flight, unmap everything
  open,      ///< the backend opens the device
  close,     ///< the backend closes the device
  commit,    ///< enter the change in the books
};

/// How an act ends (law 6).
enum class step_outcome : std::uint8_t {
  done,
  failed,  ///< it left nothing behind
  stuck,   ///< it could not put things back
};

[[nodiscard]] constexpr bool can_fail(act what) noexcept { return what != act::nothing && what != act::settle && what != act::commit; }

/// One step: what to do, and what takes it back if a later step fails.
struct step {
  act forward = act::nothing;
  act backward = act::nothing;
};

/// What a container does for its user. The first group's attach maps; the last one's detach unmaps.
enum class lifecycle_operation : std::uint8_t { attach_first, attach_next, open, close, detach_next, detach_last };
inline constexpr std::size_t operations = 6;

/// The steps of one operation.
struct plan {
  static constexpr std::size_t most = 6;
  change makes = change::none;
  std::array<step, most> steps{};

  [[nodiscard]] constexpr std::size_t size() const noexcept {
    std::size_t count = 0;
    while (count < most && steps[count].forward != act::nothing) ++count;
    return count;
  }
};

/// The plans that tether runs.
struct standard_lifecycle {
  using slot = lifecycle_slot;
  [[nodiscard]] static constexpr plan plan_of(lifecycle_operation what) noexcept {
    switch (what) {
      case lifecycle_operation::attach_first:
        return {change::attach, {{{act::hold, act::settle}, {act::join, act::leave}, {act::replay}, {act::commit}}}};
      case lifecycle_operation::attach_next: return {change::attach, {{{act::hold, act::settle}, {act::join}, {act::commit}}}};
      case lifecycle_operation::open:
        return {change::open, {{{act::judge}, {act::hold, act::settle}, {act::open}, {act::commit}, {act::settle}}}};
      case lifecycle_operation::close: return {change::close, {{{act::close}, {act::commit}, {act::settle}}}};
      case lifecycle_operation::detach_next: return {change::detach, {{{act::leave}, {act::commit}, {act::settle}}}};
      case lifecycle_operation::detach_last:
        return {change::detach, {{{act::withdraw, act::replay}, {act::leave}, {act::commit}, {act::settle}}}};
    }
    return {};
  }
};

/// Where an operation ended, if it has.
enum class ending : std::uint8_t { none, finished, rolled_back, diverged };

/// Where an operation stands. Usable as a template argument.
struct cursor {
  lifecycle_operation in = lifecycle_operation::attach_first;
  std::uint8_t index = 0;
  bool backward = false;
  ending ended = ending::none;

  friend constexpr bool operator==(cursor, cursor) noexcept = default;
};

/// The act at a cursor. Requires: it has not ended.
template <class Lifecycle>
[[nodiscard]] constexpr act act_at(cursor at) noexcept {
  const step here = Lifecycle::plan_of(at.in).steps[at.index];
  return at.backward ? here.backward : here.forward;
}

/// Where to go after the act at `at` has ended as `how`. Requires: `at` has not ended.
template <class Lifecycle>
[[nodiscard]] constexpr cursor advance(cursor at, step_outcome how) noexcept {
  const plan steps = Lifecycle::plan_of(at.in);
  const auto end_as = [&](ending how_it_ended) { return cursor{at.in, 0, false, how_it_ended}; };
  if (how == step_outcome::stuck || (at.backward && how != step_outcome::done)) return end_as(ending::diverged);
  if (how == step_outcome::done && !at.backward) {
    return at.index + 1U < steps.size() ? cursor{at.in, static_cast<std::uint8_t>(at.index + 1), false, ending::none}
                                        : end_as(ending::finished);
  }
  for (std::size_t before = at.index; before-- > 0;) {
    if (steps.steps[before].backward != act::nothing) return {at.in, static_cast<std::uint8_t>(before), true, ending::none};
  }
  return end_as(ending::rolled_back);
}

namespace detail {

constexpr std::size_t position(plan const& steps, act wanted) noexcept {
  for (std::size_t i = 0; i < steps.size(); ++i) {
    if (steps.steps[i].forward == wanted) return i;
  }
  return plan::most;
}
/// Whether `first` comes before `second`, where the plan has both.
constexpr bool in_order(plan const& steps, act first, act second) noexcept {
  const std::size_t one = position(steps, first);
  const std::size_t other = position(steps, second);
  return one == plan::most || other == plan::most || one < other;
}
/// Without these an operation is not what its name says.
constexpr std::array<act, 2> essence_of(lifecycle_operation what) noexcept {
  switch (what) {
    case lifecycle_operation::attach_first: return {act::join, act::replay};
    case lifecycle_operation::attach_next: return {act::join};
    case lifecycle_operation::open: return {act::judge, act::open};
    case lifecycle_operation::close: return {act::close};
    case lifecycle_operation::detach_next: return {act::leave};
    case lifecycle_operation::detach_last: return {act::withdraw, act::leave};
  }
  return {};
}
constexpr act inverse_of(act what) noexcept {
  switch (what) {
    case act::hold: return act::settle;
    case act::join: return act::leave;
    case act::replay: return act::withdraw;
    case act::withdraw: return act::replay;
    default: return act::nothing;
  }
}

}  // namespace detail

/// Whether a plan has the structure that the laws demand, whatever it does to the world: the acts that its name promises;
/// one commit after everything that can fail; holds before every pin point and released after everything; an undo exactly
/// where a later step can fail, and the right one.
template <class Lifecycle>
[[nodiscard]] constexpr bool well_formed(lifecycle_operation what) noexcept {
  const plan steps = Lifecycle::plan_of(what);
  const std::size_t size = steps.size();
  const std::size_t commit = detail::position(steps, act::commit);
  if (size == 0 || commit >= size || steps.makes == change::none) return false;
  for (const act essential : detail::essence_of(what)) {
    if (essential != act::nothing && detail::position(steps, essential) >= size) return false;
  }
  for (std::size_t i = 0; i < size; ++i) {
    bool later_can_fail = false;
    for (std::size_t later = i + 1; later < size; ++later) later_can_fail = later_can_fail || can_fail(steps.steps[later].forward);
    if (can_fail(steps.steps[i].forward) && i > commit) return false;
    const act needed = later_can_fail ? detail::inverse_of(steps.steps[i].forward) : act::nothing;
    if (steps.steps[i].backward != needed) return false;
  }
  const bool takes = steps.makes == change::attach || steps.makes == change::open;
  const bool settles_last = steps.steps[size - 1].forward == act::settle && detail::in_order(steps, act::commit, act::settle);
  if (takes && !(detail::in_order(steps, act::hold, act::join) && detail::in_order(steps, act::hold, act::open) &&
                 detail::in_order(steps, act::join, act::replay) && detail::in_order(steps, act::judge, act::hold) &&
                 detail::position(steps, act::hold) < size)) {
    return false;
  }
  if (steps.makes == change::open && detail::position(steps, act::judge) != 0) return false;
  // An attach can only need more holds than before; everything else may need fewer.
  if (steps.makes != change::attach && !settles_last) return false;
  return detail::in_order(steps, act::withdraw, act::leave);
}

/// Whether all of a lifecycle's plans are.
template <class Lifecycle>
inline constexpr bool well_formed_lifecycle = [] {
  for (std::size_t i = 0; i < operations; ++i) {
    if (!well_formed<Lifecycle>(static_cast<lifecycle_operation>(i))) return false;
  }
  return true;
}();

}  // namespace tether
