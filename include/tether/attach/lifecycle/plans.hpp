// SPDX-License-Identifier: BSL-1.0
// The order of the acts of each operation, and of their rollback. `advance` is the transition
// function; the runtime unrolls it at compile time and the model checker explores it, so both run
// the very same plans (law 28).
//
//     forward:   step 0 --done--> step 1 --done--> ... --> finished
//                                   | failed
//     backward:  step 0 <-----------+                  --> rolled_back
//                                   | stuck, or a rollback that fails
//                                   +------------------> diverged   (keeps its holds, law 6)
#pragma once

#include <tether/attach/lifecycle/steps.hpp>
#include <tether/core/attachment.hpp>
#include <tether/core/slots.hpp>
#include <tether/inhibit/membership.hpp>

#include <cstddef>
#include <cstdint>

namespace tether {
namespace detail {

/// One constant per plan: a container's code and a proof evaluate them again and again.
template <change Makes, act... Acts>
inline constexpr plan plan_with = planned(Makes, {Acts...});

}  // namespace detail

/// The plans that tether runs: for groups or single devices, with KVM told or not.
template <attach_unit Unit, bool TellsKvm = false>
struct lifecycle_of {
  static constexpr attach_unit unit = Unit;    ///< what is attached: groups or devices
  static constexpr bool tells_kvm = TellsKvm;  ///< whether KVM is told of each
  /// The steps of one operation, in order.
  [[nodiscard]] static constexpr plan plan_of(operation what) noexcept;
};

/// A group joins, then its devices are opened. Whether they agree to discards is known only then,
/// so the hold comes first of all. Mapped memory may have been discarded while nothing pinned it,
/// so it is populated again before something pins it.
template <>
constexpr plan lifecycle_of<attach_unit::group, false>::plan_of(operation what) noexcept {
  using enum act;
  switch (what) {
    case operation::attach_first:
      return detail::plan_with<change::attach, raise_holds, join, replay, commit>;
    case operation::attach_next:
      return detail::plan_with<change::attach, raise_holds, populate, join, commit>;
    case operation::open:
      return detail::plan_with<change::open, judge, raise_holds, populate, open, commit,
                               lower_holds>;
    case operation::close: return detail::plan_with<change::close, act::close, commit, lower_holds>;
    case operation::detach_next:
      return detail::plan_with<change::detach, leave, commit, lower_holds>;
    case operation::detach_last:
      return detail::plan_with<change::detach, withdraw, leave, commit, lower_holds>;
  }
  return {};
}
/// KVM is told by descriptor, before the join, and forgets after the leave: so opening and closing
/// the group are acts of their own.
template <>
constexpr plan lifecycle_of<attach_unit::group, true>::plan_of(operation what) noexcept {
  using enum act;
  switch (what) {
    case operation::attach_first:
      return detail::plan_with<change::attach, raise_holds, acquire, add_to_kvm, join, replay,
                               commit>;
    case operation::attach_next:
      return detail::plan_with<change::attach, raise_holds, acquire, add_to_kvm, populate, join,
                               commit>;
    case operation::detach_next:
      return detail::plan_with<change::detach, leave, remove_from_kvm, release, commit,
                               lower_holds>;
    case operation::detach_last:
      return detail::plan_with<change::detach, withdraw, leave, remove_from_kvm, release, commit,
                               lower_holds>;
    default: return lifecycle_of<attach_unit::group>::plan_of(what);
  }
}
/// A device's consent is judged, and it is opened, before it can reach any memory; it joins last.
/// There is no separate open or close.
template <>
constexpr plan lifecycle_of<attach_unit::device, false>::plan_of(operation what) noexcept {
  using enum act;
  switch (what) {
    case operation::attach_first:
      return detail::plan_with<change::attach_device, judge, act::open, bind, raise_holds, join,
                               replay, commit>;
    case operation::attach_next:
      return detail::plan_with<change::attach_device, judge, act::open, bind, raise_holds, populate,
                               join, commit>;
    case operation::detach_next:
      return detail::plan_with<change::detach_device, leave, act::close, commit, lower_holds>;
    case operation::detach_last:
      return detail::plan_with<change::detach_device, withdraw, leave, act::close, commit,
                               lower_holds>;
    default: return {};
  }
}
template <>
constexpr plan lifecycle_of<attach_unit::device, true>::plan_of(operation what) noexcept {
  using enum act;
  switch (what) {
    case operation::attach_first:
      return detail::plan_with<change::attach_device, judge, act::open, add_to_kvm, bind,
                               raise_holds, join, replay, commit>;
    case operation::attach_next:
      return detail::plan_with<change::attach_device, judge, act::open, add_to_kvm, bind,
                               raise_holds, populate, join, commit>;
    case operation::detach_next:
      return detail::plan_with<change::detach_device, leave, remove_from_kvm, act::close, commit,
                               lower_holds>;
    case operation::detach_last:
      return detail::plan_with<change::detach_device, withdraw, leave, remove_from_kvm, act::close,
                               commit, lower_holds>;
    default: return {};
  }
}

/// The plans for groups, without KVM.
using standard_lifecycle = lifecycle_of<attach_unit::group>;

/// What a lifecycle's plans attach: groups, if it does not declare a `unit`.
template <class Lifecycle>
inline constexpr attach_unit unit_of = attach_unit::group;
template <class Lifecycle>
  requires requires { Lifecycle::unit; }
inline constexpr attach_unit unit_of<Lifecycle> = Lifecycle::unit;

/// How an operation ended, if it has.
enum class ending : std::uint8_t { none, finished, rolled_back, diverged };

/// The state of an operation: its next act. Usable as a template argument.
struct cursor {
  operation in = operation::attach_first;  ///< the plan that is run
  std::uint8_t index = 0;                  ///< its step
  bool backward = false;                   ///< whether it is rolling back
  ending ended = ending::none;             ///< how it ended, if it has

  friend constexpr bool operator==(cursor, cursor) noexcept = default;
};

/// The act at a cursor. Requires: it has not ended.
template <class Lifecycle>
[[nodiscard]] constexpr act act_at(cursor at) noexcept {
  const step here = Lifecycle::plan_of(at.in).steps[at.index];
  return at.backward ? here.backward : here.forward;
}

/// The cursor after the act at `at` has ended as `how`. Requires: `at` has not ended.
template <class Lifecycle>
[[nodiscard]] constexpr cursor advance(cursor at, outcome how) noexcept {
  const plan steps = Lifecycle::plan_of(at.in);
  const auto end_as = [&](ending how_it_ended) { return cursor{at.in, 0, false, how_it_ended}; };
  if (how == outcome::stuck || (at.backward && how != outcome::done))
    return end_as(ending::diverged);
  if (how == outcome::done && !at.backward) {
    return at.index + 1U < steps.size()
               ? cursor{at.in, static_cast<std::uint8_t>(at.index + 1), false, ending::none}
               : end_as(ending::finished);
  }
  for (std::size_t before = at.index; before-- > 0;) {
    if (steps.steps[before].backward != act::nothing)
      return {at.in, static_cast<std::uint8_t>(before), true, ending::none};
  }
  return end_as(ending::rolled_back);
}

}  // namespace tether
