// SPDX-License-Identifier: BSL-1.0
// The structure that the laws require of plans, whatever the effects of their acts: checked for
// every configuration, including one with a user's own (or a test's seeded) plans.
#pragma once

#include <tether/attach/lifecycle/plans.hpp>
#include <tether/attach/lifecycle/steps.hpp>
#include <tether/core/attachment.hpp>
#include <tether/inhibit/membership.hpp>

#include <array>
#include <cstddef>

namespace tether {
namespace detail {

constexpr std::size_t position(plan const& steps, act wanted) noexcept {
  for (std::size_t i = 0; i < plan::most; ++i) {
    if (steps.steps[i].forward == wanted) return i;
  }
  return plan::most;
}
constexpr bool has(plan const& steps, act wanted) noexcept {
  return position(steps, wanted) != plan::most;
}
/// Whether `first` comes before `second`, where the plan has both.
constexpr bool in_order(plan const& steps, act first, act second) noexcept {
  return !has(steps, first) || !has(steps, second) ||
         position(steps, first) < position(steps, second);
}

/// The acts that every plan of this operation must contain.
constexpr std::array<act, 5> required_acts(operation what, attach_unit unit) noexcept {
  const bool alone = unit == attach_unit::device;
  switch (what) {
    case operation::attach_first:
      if (alone) return {act::judge, act::open, act::bind, act::join, act::replay};
      return {act::join, act::replay};
    case operation::attach_next:
      if (alone) return {act::judge, act::open, act::bind, act::populate, act::join};
      return {act::populate, act::join};
    case operation::open: return {act::judge, act::populate, act::open};
    case operation::close: return {act::close};
    case operation::detach_next: return {act::leave, alone ? act::close : act::nothing};
    case operation::detach_last:
      return {act::withdraw, act::leave, alone ? act::close : act::nothing};
  }
  return {};
}
/// The change of the counts that an operation is for.
constexpr change change_of(operation what, attach_unit unit) noexcept {
  const bool alone = unit == attach_unit::device;
  switch (what) {
    case operation::attach_first:
    case operation::attach_next: return alone ? change::attach_device : change::attach;
    case operation::open: return change::open;
    case operation::close: return change::close;
    case operation::detach_next:
    case operation::detach_last: return alone ? change::detach_device : change::detach;
  }
  return change::none;
}

/// An act's precondition: a device to open, or an open one; something that is to join, or has
/// joined; nothing mapped yet, or no other user of the mappings. An act without a precondition may
/// stand anywhere.
constexpr bool may_stand_in(act what, operation in, change makes) noexcept {
  const bool attaches = in == operation::attach_first || in == operation::attach_next;
  const bool detaches = in == operation::detach_next || in == operation::detach_last;
  switch (what) {
    case act::judge:
    case act::open: return makes == change::open || makes == change::attach_device;
    case act::bind: return makes == change::attach_device;
    case act::close: return makes == change::close || makes == change::detach_device;
    case act::raise_holds: return attaches || in == operation::open;
    case act::populate: return in == operation::attach_next || in == operation::open;
    case act::acquire:
    case act::add_to_kvm:
    case act::join: return attaches;
    case act::leave:
    case act::remove_from_kvm:
    case act::release: return detaches;
    case act::replay: return in == operation::attach_first;
    case act::withdraw: return in == operation::detach_last;
    default: return true;
  }
}
/// Whether a step's act occurs earlier in the plan.
constexpr bool stands_twice(plan const& steps, std::size_t at) noexcept {
  return position(steps, steps.steps[at].forward) < at;
}

/// Law 4: what is opened is judged first; the hold before every pin point; KVM told before the join
/// and before a device is bound.
constexpr bool takes_in_order(plan const& steps) noexcept {
  const std::size_t hold = position(steps, act::raise_holds);
  if (hold == plan::most || (has(steps, act::judge) && position(steps, act::judge) != 0))
    return false;
  // A group may pin as soon as anything is done for it; a device of a group once it is opened; a
  // single device once it joins.
  if (steps.makes == change::attach && hold != 0) return false;
  if (steps.makes == change::open && !in_order(steps, act::raise_holds, act::open)) return false;
  const bool bound_first =
      in_order(steps, act::open, act::bind) && in_order(steps, act::bind, act::raise_holds);
  if (steps.makes == change::attach_device && !bound_first) return false;
  // Mapped memory may have been discarded since it was mapped; populated under the hold it stays
  // present, and the very next act pins it.
  const std::size_t pins = position(steps, steps.makes == change::open ? act::open : act::join);
  if (has(steps, act::populate) &&
      (position(steps, act::populate) < hold || position(steps, act::populate) + 1 != pins))
    return false;
  return in_order(steps, act::raise_holds, act::join) && in_order(steps, act::join, act::replay) &&
         in_order(steps, act::acquire, act::add_to_kvm) &&
         in_order(steps, act::open, act::add_to_kvm) &&
         in_order(steps, act::add_to_kvm, act::bind) &&
         in_order(steps, act::add_to_kvm, act::join) &&
         in_order(steps, act::commit, act::lower_holds);
}
/// Laws 5 and 6: unmapped, then left, then forgotten by KVM, then closed; holds released last of
/// all.
constexpr bool gives_in_order(plan const& steps) noexcept {
  const std::size_t size = steps.size();
  return steps.steps[size - 1].forward == act::lower_holds &&
         in_order(steps, act::commit, act::lower_holds) &&
         in_order(steps, act::withdraw, act::leave) &&
         in_order(steps, act::leave, act::remove_from_kvm) &&
         in_order(steps, act::remove_from_kvm, act::release) &&
         in_order(steps, act::release, act::commit) && in_order(steps, act::leave, act::close) &&
         in_order(steps, act::remove_from_kvm, act::close);
}
/// A group's descriptor is acquired separately for KVM alone: opened exactly where KVM is told,
/// closed exactly where it forgets.
constexpr bool holds_descriptor_for_kvm(plan const& steps, attach_unit unit) noexcept {
  const bool of_groups = unit == attach_unit::group;
  return has(steps, act::acquire) == (of_groups && has(steps, act::add_to_kvm)) &&
         has(steps, act::release) == (of_groups && has(steps, act::remove_from_kvm));
}

}  // namespace detail

/// Whether a plan has the acts that its operation requires, each once and none without its
/// precondition; one commit after everything that can fail; holds taken before every pin point and
/// released last; the right compensating act exactly where a later step can fail.
[[nodiscard]] constexpr bool well_formed(plan const& steps, operation what,
                                         attach_unit unit) noexcept {
  const std::size_t size = steps.size();
  if (unit == attach_unit::device && (what == operation::open || what == operation::close))
    return size == 0;
  if (size == 0 || steps.makes != detail::change_of(what, unit) || !detail::has(steps, act::commit))
    return false;
  for (const act essential : detail::required_acts(what, unit)) {
    if (essential != act::nothing && !detail::has(steps, essential)) return false;
  }
  const std::size_t commit = detail::position(steps, act::commit);
  for (std::size_t i = 0; i < size; ++i) {
    if (!detail::may_stand_in(steps.steps[i].forward, what, steps.makes) ||
        detail::stands_twice(steps, i))
      return false;
    if (can_fail(steps.steps[i].forward) && i > commit) return false;
    const act needed =
        steps.may_roll_back_after(i) ? inverse_of(steps.steps[i].forward) : act::nothing;
    if (steps.steps[i].backward != needed) return false;
  }
  if (!detail::holds_descriptor_for_kvm(steps, unit)) return false;
  const bool takes = steps.makes == change::attach || steps.makes == change::attach_device ||
                     steps.makes == change::open;
  if (takes && !detail::takes_in_order(steps)) return false;
  // An attach can only need more holds than before; everything else may need fewer.
  const bool attaches = steps.makes == change::attach || steps.makes == change::attach_device;
  return attaches || detail::gives_in_order(steps);
}

/// Whether the plan of one operation is.
template <class Lifecycle>
[[nodiscard]] constexpr bool well_formed(operation what) noexcept {
  return well_formed(Lifecycle::plan_of(what), what, unit_of<Lifecycle>);
}

/// Whether every plan, in the order of `operation`, is well formed, and the detach plans retract
/// from KVM exactly what the attach plans told it.
[[nodiscard]] constexpr bool well_formed(std::array<plan, operations> const& plans,
                                         attach_unit unit) noexcept {
  for (std::size_t i = 0; i < operations; ++i) {
    if (!well_formed(plans[i], static_cast<operation>(i), unit)) return false;
  }
  const auto does = [&plans](operation what, act wanted) {
    return detail::has(plans[static_cast<std::size_t>(what)], wanted);
  };
  const bool tells = does(operation::attach_first, act::add_to_kvm);
  return tells == does(operation::attach_next, act::add_to_kvm) &&
         tells == does(operation::detach_next, act::remove_from_kvm) &&
         tells == does(operation::detach_last, act::remove_from_kvm);
}

namespace detail {

template <class Lifecycle>
constexpr std::array<plan, operations> plans_of() noexcept {
  std::array<plan, operations> all{};
  for (std::size_t i = 0; i < operations; ++i)
    all[i] = Lifecycle::plan_of(static_cast<operation>(i));
  return all;
}

}  // namespace detail

/// Whether all plans of a lifecycle are.
template <class Lifecycle>
inline constexpr bool well_formed_lifecycle =
    well_formed(detail::plans_of<Lifecycle>(), unit_of<Lifecycle>);

}  // namespace tether
