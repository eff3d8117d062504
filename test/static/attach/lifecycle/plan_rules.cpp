// SPDX-License-Identifier: BSL-1.0
// Every plan with one step dropped, exchanged with its neighbour, or robbed of its undo:
// `well_formed` refuses each of them; the first two also where all undos are as they then have to
// be.
#include <tether/attach/lifecycle/plan_rules.hpp>

#include <cstddef>
#include <utility>

namespace tether {
namespace {

using enum act;
using op = operation;
using of_groups = lifecycle_of<attach_unit::group>;
using of_devices = lifecycle_of<attach_unit::device>;

static_assert(well_formed_lifecycle<of_groups> &&
              well_formed_lifecycle<lifecycle_of<attach_unit::group, true>>);
static_assert(well_formed_lifecycle<of_devices> &&
              well_formed_lifecycle<lifecycle_of<attach_unit::device, true>>);

// What can be done to one step of a plan.
using change_of_step = void (*)(plan&, std::size_t at);
constexpr void drop(plan& steps, std::size_t at) {
  for (std::size_t i = at; i + 1 < plan::most; ++i) steps.steps[i] = steps.steps[i + 1];
  steps.steps[plan::most - 1] = {};
}
constexpr void exchange(plan& steps, std::size_t at) {
  std::swap(steps.steps[at], steps.steps[at + 1]);
}
/// The forward acts alone change places, the undos stay where they were.
constexpr void exchange_forward(plan& steps, std::size_t at) {
  std::swap(steps.steps[at].forward, steps.steps[at + 1].forward);
}
constexpr void no_undo(plan& steps, std::size_t at) { steps.steps[at].backward = nothing; }
/// With the undos that `planned` would have given it: so it is not for them that it is refused.
template <change_of_step Change>
constexpr void with_undos(plan& steps, std::size_t at) {
  Change(steps, at);
  for (std::size_t i = 0; i < plan::most; ++i) {
    steps.steps[i].backward =
        steps.may_roll_back_after(i) ? inverse_of(steps.steps[i].forward) : nothing;
  }
}
template <change To>
constexpr void make(plan& steps, std::size_t) {
  steps.makes = To;
}

template <class Lifecycle>
constexpr bool refused(op which, change_of_step change, std::size_t at = 0) {
  auto plans = detail::plans_of<Lifecycle>();
  plan& changed = plans[static_cast<std::size_t>(which)];
  change(changed, at);
  // One alone first: what it is refused for needs no look at the others.
  return !well_formed(changed, which, unit_of<Lifecycle>) ||
         !well_formed(plans, unit_of<Lifecycle>);
}

/// Whether every change of every step of one plan is refused.
template <class Lifecycle>
constexpr bool no_survivor_of(op which) {
  const plan right = Lifecycle::plan_of(which);
  for (std::size_t at = 0; at < right.size(); ++at) {
    const bool last = at + 1 == right.size();
    if (!refused<Lifecycle>(which, drop, at) || !refused<Lifecycle>(which, with_undos<drop>, at))
      return false;
    if (!last && !(refused<Lifecycle>(which, exchange, at) &&
                   refused<Lifecycle>(which, with_undos<exchange>, at)))
      return false;
    if (right.steps[at].backward != nothing && !refused<Lifecycle>(which, no_undo, at))
      return false;
  }
  return true;
}
template <class Lifecycle>
constexpr bool no_survivor =
    no_survivor_of<Lifecycle>(op::attach_first) && no_survivor_of<Lifecycle>(op::attach_next) &&
    no_survivor_of<Lifecycle>(op::open) && no_survivor_of<Lifecycle>(op::close) &&
    no_survivor_of<Lifecycle>(op::detach_next) && no_survivor_of<Lifecycle>(op::detach_last);

static_assert(no_survivor<of_groups>);
static_assert(no_survivor<lifecycle_of<attach_unit::group, true>>);
static_assert(no_survivor<of_devices>);
static_assert(no_survivor<lifecycle_of<attach_unit::device, true>>);
/// And what is not changed is not refused.
static_assert(!refused<of_groups>(op::attach_first, [](plan&, std::size_t) {}));

static_assert(refused<of_groups>(op::attach_first, exchange_forward, 0) &&
              refused<of_groups>(op::attach_first, exchange_forward, 1));
static_assert(refused<of_groups>(op::detach_last, exchange_forward, 0) &&
              refused<of_groups>(op::detach_last, exchange_forward, 1));
static_assert(refused<of_groups>(op::attach_first, make<change::none>) &&
              refused<of_groups>(op::close, make<change::none>));
static_assert(refused<of_devices>(op::attach_first, make<change::attach>) &&
              refused<of_groups>(op::attach_next, make<change::attach_device>));

/// One act more, wherever it is put, with the undos that are then right. Who is asked for what is
/// not there (a device to judge where nothing is opened, something joined where nothing has) would
/// be asked all the same.
constexpr plan with(plan steps, std::size_t at, act what) noexcept {
  for (std::size_t i = plan::most - 1; i > at; --i) steps.steps[i] = steps.steps[i - 1];
  steps.steps[at] = {what, nothing};
  for (step& one : steps.steps) one.backward = nothing;
  for (std::size_t i = 0; i < plan::most; ++i) {
    if (steps.may_roll_back_after(i)) steps.steps[i].backward = inverse_of(steps.steps[i].forward);
  }
  return steps;
}
/// Only the last `lower_holds` of an attach may be there or not: it has nothing to give back. And a
/// device can be told of or forgotten, as far as a single plan goes; that all of them agree on it
/// is asked of the lifecycle.
template <class Lifecycle, op Which>
constexpr bool nothing_can_be_inserted = [] {
  constexpr plan steps = Lifecycle::plan_of(Which);
  constexpr std::size_t size = steps.size();
  constexpr bool attaches = Which == op::attach_first || Which == op::attach_next;
  if (size == 0 || size == plan::most) return true;
  for (std::size_t at = 0; at <= size; ++at) {
    for (auto what = static_cast<std::size_t>(judge); what <= static_cast<std::size_t>(commit);
         ++what) {
      const bool of_kvm =
          Lifecycle::unit == attach_unit::device &&
          (static_cast<act>(what) == add_to_kvm || static_cast<act>(what) == remove_from_kvm);
      const bool harmless = attaches && at == size && static_cast<act>(what) == lower_holds;
      const bool accepted =
          well_formed(with(steps, at, static_cast<act>(what)), Which, Lifecycle::unit);
      if (accepted != harmless && !of_kvm) return false;
    }
  }
  return true;
}();
template <class Lifecycle>
constexpr bool nothing_fits_in =
    nothing_can_be_inserted<Lifecycle, op::attach_first> &&
    nothing_can_be_inserted<Lifecycle, op::attach_next> &&
    nothing_can_be_inserted<Lifecycle, op::open> && nothing_can_be_inserted<Lifecycle, op::close> &&
    nothing_can_be_inserted<Lifecycle, op::detach_next> &&
    nothing_can_be_inserted<Lifecycle, op::detach_last>;
static_assert(nothing_fits_in<of_groups>);
static_assert(nothing_fits_in<lifecycle_of<attach_unit::group, true>>);
static_assert(nothing_fits_in<of_devices>);
static_assert(nothing_fits_in<lifecycle_of<attach_unit::device, true>>);

constexpr auto told_once = [](plan& steps, std::size_t) { steps = with(steps, 1, add_to_kvm); };
static_assert(refused<of_devices>(op::attach_first, told_once) &&
              refused<of_devices>(op::attach_next, told_once));
constexpr auto forgotten_once = [](plan& steps, std::size_t) {
  steps = with(steps, 1, remove_from_kvm);
};
static_assert(refused<of_devices>(op::detach_next, forgotten_once) &&
              refused<of_devices>(op::detach_last, forgotten_once));

/// The device that it judges is not there.
constexpr auto judge_first = [](plan& steps, std::size_t) {
  steps = planned(change::detach, {judge, withdraw, leave, commit, lower_holds});
};
static_assert(refused<of_groups>(op::detach_last, judge_first));

/// Plans for one unit are none for the other.
struct groups_as_devices {
  static constexpr attach_unit unit = attach_unit::device;
  static constexpr plan plan_of(op what) noexcept { return of_groups::plan_of(what); }
};
static_assert(!well_formed_lifecycle<groups_as_devices>);

/// Historical mistakes: QEMU's detach gives the hold back first; joining an existing container
/// before holding; KVM told after the pin.
constexpr auto release_first = [](plan& steps, std::size_t) {
  steps.steps = {{{lower_holds}, {withdraw, replay}, {leave}, {commit}}};
};
static_assert(refused<of_groups>(op::detach_last, release_first));
constexpr auto join_first = [](plan& steps, std::size_t) {
  steps.steps = {{{join, leave}, {raise_holds}, {commit}}};
};
static_assert(refused<of_groups>(op::attach_next, join_first));
constexpr auto tell_late = [](plan& steps, std::size_t) {
  steps = planned(change::attach, {raise_holds, acquire, join, add_to_kvm, replay, commit});
};
static_assert(refused<lifecycle_of<attach_unit::group, true>>(op::attach_first, tell_late));
/// QEMU's iommufd: attached, and so perhaps pinned, before the discard is disabled.
constexpr auto hold_late = [](plan& steps, std::size_t) {
  steps =
      planned(change::attach_device, {judge, act::open, bind, join, raise_holds, replay, commit});
};
static_assert(refused<of_devices>(op::attach_first, hold_late));

}  // namespace
}  // namespace tether
