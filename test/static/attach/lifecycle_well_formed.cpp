// SPDX-License-Identifier: BSL-1.0
// Every plan with one step dropped, exchanged with its neighbour, or robbed of its undo: `well_formed` refuses each of them; the first
// two also where all undos are as they then have to be.
#include <tether/attach/lifecycle_well_formed.hpp>

#include <cstddef>
#include <cstdint>
#include <utility>

namespace tether {
namespace {

using enum act;
using op = operation;
using of_groups = lifecycle_of<attach_unit::group>;
using of_devices = lifecycle_of<attach_unit::device>;

static_assert(well_formed_lifecycle<of_groups> && well_formed_lifecycle<lifecycle_of<attach_unit::group, true>>);
static_assert(well_formed_lifecycle<of_devices> && well_formed_lifecycle<lifecycle_of<attach_unit::device, true>>);

/// One plan of a lifecycle, changed.
template <class Lifecycle, op Which, auto Change>
struct mutant {
  using slot = lifecycle_slot;
  static constexpr attach_unit unit = Lifecycle::unit;
  static constexpr plan plan_of(op what) noexcept {
    plan steps = Lifecycle::plan_of(what);
    if (what == Which) Change(steps);
    return steps;
  }
};
template <std::size_t At>
constexpr auto drop = [](plan& steps) {
  for (std::size_t i = At; i + 1 < plan::most; ++i) steps.steps[i] = steps.steps[i + 1];
  steps.steps[plan::most - 1] = {};
};
template <std::size_t At>
constexpr auto exchange = [](plan& steps) { std::swap(steps.steps[At], steps.steps[At + 1]); };
/// The forward acts alone change places, the undos stay where they were.
template <std::size_t At>
constexpr auto exchange_forward = [](plan& steps) { std::swap(steps.steps[At].forward, steps.steps[At + 1].forward); };
template <std::size_t At>
constexpr auto no_undo = [](plan& steps) { steps.steps[At].backward = nothing; };
/// With the undos that `planned` would have given it: so it is not for them that it is refused.
template <auto Change>
constexpr auto with_undos = [](plan& steps) {
  Change(steps);
  for (std::size_t i = 0; i < plan::most; ++i) {
    steps.steps[i].backward = steps.may_turn_back_after(i) ? inverse_of(steps.steps[i].forward) : nothing;
  }
};
template <change To>
constexpr auto make = [](plan& steps) { steps.makes = To; };

template <class Lifecycle, op Which, auto Change>
constexpr bool refused = !well_formed_lifecycle<mutant<Lifecycle, Which, Change>>;

template <class Lifecycle, op Which>
constexpr plan plan_for = Lifecycle::plan_of(Which);

/// A bit for each mutant of one plan that is accepted.
template <class Lifecycle, op Which, std::size_t... At>
constexpr std::uint64_t survivors(std::index_sequence<At...>) {
  constexpr std::size_t size = plan_for<Lifecycle, Which>.size();
  std::uint64_t found = 0;
  ((found |= refused<Lifecycle, Which, drop<At>> ? 0U : std::uint64_t{1} << At), ...);
  ((found |= At + 1 >= size || refused<Lifecycle, Which, exchange<At + 1 < size ? At : 0>> ? 0U : std::uint64_t{1} << (At + 16)), ...);
  ((found |= plan_for<Lifecycle, Which>.steps[At].backward == nothing || refused<Lifecycle, Which, no_undo<At>> ? 0U
                                                                                                             : std::uint64_t{1} << (At + 32)),
   ...);
  ((found |= refused<Lifecycle, Which, with_undos<drop<At>>> ? 0U : std::uint64_t{1} << (At + 48)), ...);
  ((found |= At + 1 >= size || refused<Lifecycle, Which, with_undos<exchange<At + 1 < size ? At : 0>>> ? 0U : std::uint64_t{1} << (At + 56)),
   ...);
  return found;
}
template <class Lifecycle, op Which>
constexpr std::uint64_t survivors_of() {
  constexpr std::size_t size = plan_for<Lifecycle, Which>.size();
  if constexpr (size == 0) return 0;
  else return survivors<Lifecycle, Which>(std::make_index_sequence<size>{});
}
template <class Lifecycle>
constexpr bool no_survivor = survivors_of<Lifecycle, op::attach_first>() == 0 && survivors_of<Lifecycle, op::attach_next>() == 0 &&
                             survivors_of<Lifecycle, op::open>() == 0 && survivors_of<Lifecycle, op::close>() == 0 &&
                             survivors_of<Lifecycle, op::detach_next>() == 0 && survivors_of<Lifecycle, op::detach_last>() == 0;

static_assert(no_survivor<of_groups>);
static_assert(no_survivor<lifecycle_of<attach_unit::group, true>>);
static_assert(no_survivor<of_devices>);
static_assert(no_survivor<lifecycle_of<attach_unit::device, true>>);

static_assert(refused<of_groups, op::attach_first, exchange_forward<0>> && refused<of_groups, op::attach_first, exchange_forward<1>>);
static_assert(refused<of_groups, op::detach_last, exchange_forward<0>> && refused<of_groups, op::detach_last, exchange_forward<1>>);
static_assert(refused<of_groups, op::attach_first, make<change::none>> && refused<of_groups, op::close, make<change::none>>);
static_assert(refused<of_devices, op::attach_first, make<change::attach>> && refused<of_groups, op::attach_next, make<change::attach_device>>);

/// One act more, wherever it is put, with the undos that are then right. Who is asked for what is not there (a device to judge where
/// nothing is opened, something joined where nothing has) would be asked all the same.
constexpr plan with(plan steps, std::size_t at, act what) noexcept {
  for (std::size_t i = plan::most - 1; i > at; --i) steps.steps[i] = steps.steps[i - 1];
  steps.steps[at] = {what, nothing};
  for (step& one : steps.steps) one.backward = nothing;
  for (std::size_t i = 0; i < plan::most; ++i) {
    if (steps.may_turn_back_after(i)) steps.steps[i].backward = inverse_of(steps.steps[i].forward);
  }
  return steps;
}
/// Only the last `settle` of an attach may be there or not: it has nothing to give back. And a device can be told of or forgotten, as far
/// as a single plan goes; that all of them agree on it is asked of the lifecycle.
template <class Lifecycle, op Which>
constexpr bool nothing_can_be_inserted = [] {
  constexpr plan steps = Lifecycle::plan_of(Which);
  constexpr std::size_t size = steps.size();
  constexpr bool attaches = Which == op::attach_first || Which == op::attach_next;
  if (size == 0 || size == plan::most) return true;
  for (std::size_t at = 0; at <= size; ++at) {
    for (auto what = static_cast<std::size_t>(judge); what <= static_cast<std::size_t>(commit); ++what) {
      const bool of_kvm = Lifecycle::unit == attach_unit::device && (static_cast<act>(what) == tell || static_cast<act>(what) == forget);
      const bool harmless = attaches && at == size && static_cast<act>(what) == settle;
      const bool accepted = well_formed(with(steps, at, static_cast<act>(what)), Which, Lifecycle::unit);
      if (accepted != harmless && !of_kvm) return false;
    }
  }
  return true;
}();
template <class Lifecycle>
constexpr bool nothing_fits_in = nothing_can_be_inserted<Lifecycle, op::attach_first> && nothing_can_be_inserted<Lifecycle, op::attach_next> &&
                                 nothing_can_be_inserted<Lifecycle, op::open> && nothing_can_be_inserted<Lifecycle, op::close> &&
                                 nothing_can_be_inserted<Lifecycle, op::detach_next> && nothing_can_be_inserted<Lifecycle, op::detach_last>;
static_assert(nothing_fits_in<of_groups>);
static_assert(nothing_fits_in<lifecycle_of<attach_unit::group, true>>);
static_assert(nothing_fits_in<of_devices>);
static_assert(nothing_fits_in<lifecycle_of<attach_unit::device, true>>);

constexpr auto told_once = [](plan& steps) { steps = with(steps, 1, tell); };
static_assert(refused<of_devices, op::attach_first, told_once> && refused<of_devices, op::attach_next, told_once>);
constexpr auto forgotten_once = [](plan& steps) { steps = with(steps, 1, forget); };
static_assert(refused<of_devices, op::detach_next, forgotten_once> && refused<of_devices, op::detach_last, forgotten_once>);

/// The device that it judges is not there.
constexpr auto judge_first = [](plan& steps) { steps = planned(change::detach, {judge, withdraw, leave, commit, settle}); };
static_assert(refused<of_groups, op::detach_last, judge_first>);

/// Plans for one unit are none for the other.
struct groups_as_devices {
  using slot = lifecycle_slot;
  static constexpr attach_unit unit = attach_unit::device;
  static constexpr plan plan_of(op what) noexcept { return of_groups::plan_of(what); }
};
static_assert(!well_formed_lifecycle<groups_as_devices>);

/// Historical mistakes: QEMU's detach gives the hold back first; joining an existing container before holding; KVM told after the pin.
constexpr auto release_first = [](plan& steps) { steps.steps = {{{settle}, {withdraw, replay}, {leave}, {commit}}}; };
static_assert(refused<of_groups, op::detach_last, release_first>);
constexpr auto join_first = [](plan& steps) { steps.steps = {{{join, leave}, {hold}, {commit}}}; };
static_assert(refused<of_groups, op::attach_next, join_first>);
constexpr auto tell_late = [](plan& steps) { steps = planned(change::attach, {hold, acquire, join, tell, replay, commit}); };
static_assert(refused<lifecycle_of<attach_unit::group, true>, op::attach_first, tell_late>);
/// QEMU's iommufd: attached, and so perhaps pinned, before the discard is disabled.
constexpr auto hold_late = [](plan& steps) { steps = planned(change::attach_device, {judge, act::open, bind, join, hold, replay, commit}); };
static_assert(refused<of_devices, op::attach_first, hold_late>);

}  // namespace
}  // namespace tether
