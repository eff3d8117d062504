// SPDX-License-Identifier: BSL-1.0
// Mistakes for the proof to find: policies, orders and rules that were made, shipped or nearly
// made. Each is right but for one thing. `of_groups` and `of_devices` are the plans that tether
// runs.
#pragma once

#include <tether/attach/lifecycle/plans.hpp>
#include <tether/attach/lifecycle/steps.hpp>
#include <tether/core/slots.hpp>
#include <tether/inhibit/membership.hpp>
#include <tether/inhibit/policies.hpp>
#include <tether/proof/model/abstraction.hpp>

#include <cstddef>
#include <cstdint>
#include <utility>

namespace tether::seeds {

using of_groups = lifecycle_of<attach_unit::group>;
using of_devices = lifecycle_of<attach_unit::device>;

// Policies.

/// No provisional hold: between attach and open a group is pinned without a hold.
struct forgets_what_has_no_device {
  using slot = inhibition_slot;
  static constexpr std::uint32_t holds(group_counts group) noexcept { return group.declined; }
};
/// The container's hold is released when one of two members has opted in.
struct believes_the_first {
  using slot = inhibition_slot;
  static constexpr std::uint32_t holds(container_counts container) noexcept {
    return container.members != 0 && container.need_no_hold == 0 ? 1 : 0;
  }
};
/// The second device of a group drops the first one's hold.
struct one_agreement_is_enough {
  using slot = inhibition_slot;
  static constexpr std::uint32_t holds(group_counts group) noexcept {
    return group.attached && !group.consent_known ? 1 : 0;
  }
};
struct holds_for_ever {
  using slot = inhibition_slot;
  static constexpr std::uint32_t holds(group_counts group) noexcept {
    return group.attached ? 1 : 0;
  }
};
/// Closing the last device that agreed needs a hold again, which may be refused.
struct takes_it_back_at_close {
  using slot = inhibition_slot;
  static constexpr std::uint32_t holds(group_counts group) noexcept {
    return group.attached && (group.agreed == 0 || group.declined != 0) ? 1 : 0;
  }
};
/// Right, but counting in multiples: of sixteen, of ten, of a hundred.
struct counts_by_sixteen {
  using slot = inhibition_slot;
  static constexpr std::uint32_t holds(group_counts group) noexcept {
    return group.attached && !group.needs_no_hold() ? 16 : 0;
  }
};
struct counts_in_tens {
  using slot = inhibition_slot;
  static constexpr std::uint32_t holds(group_counts group) noexcept {
    return (group.attached && !group.consent_known ? 10 : 0) + 10 * group.declined;
  }
};
struct counts_groups_in_hundreds {
  using slot = inhibition_slot;
  static constexpr std::uint32_t holds(container_counts all) noexcept {
    return 100 * (all.members - all.need_no_hold);
  }
};

// Wrong only in worlds larger than the small one.

/// Three devices that did not agree are outvoted by six that did, and so is one by two.
struct believes_the_majority {
  using slot = inhibition_slot;
  static constexpr std::uint32_t holds(group_counts group) noexcept {
    return group.attached && (!group.consent_known || group.declined > group.agreed / 2) ? 1 : 0;
  }
};
/// The count has two bits: four groups count as none.
struct counts_in_two_bits {
  using slot = inhibition_slot;
  static constexpr std::uint32_t holds(container_counts all) noexcept {
    return (all.members - all.need_no_hold) & 3U;
  }
};
/// The sum has 32 bits: two groups count as none.
struct counts_by_two_to_the_31st {
  using slot = inhibition_slot;
  static constexpr std::uint32_t holds(group_counts group) noexcept {
    return group.attached && !group.needs_no_hold() ? 1U << 31U : 0;
  }
};
/// Would refuse a mixed group, but its `admits` may throw, so it is never asked.
struct admits_may_throw {
  using slot = inhibition_slot;
  static constexpr std::uint32_t holds(group_counts group) noexcept {
    return group.attached && !group.needs_no_hold() ? 1 : 0;
  }
  static constexpr bool admits(group_counts group) {
    return group.agreed == 0 || group.declined == 0;
  }
};
/// It may be evaluated when the variable had another value.
struct reads_a_variable {
  using slot = inhibition_slot;
  static inline bool mastering = true;
  static constexpr std::uint32_t holds(group_counts group) noexcept {
    return group.attached && !group.needs_no_hold() && mastering ? 1 : 0;
  }
};
/// Ignores `attached`: a group that has left still counts.
struct forgets_attached {
  using slot = inhibition_slot;
  static constexpr std::uint32_t holds(group_counts group) noexcept {
    return group.needs_no_hold() ? 0 : 1;
  }
};

// Orders: a lifecycle with one plan replaced.

template <class Lifecycle, operation Which, plan Instead>
struct with_plan {
  static constexpr attach_unit unit = Lifecycle::unit;
  static constexpr plan plan_of(operation what) noexcept {
    return what == Which ? Instead : Lifecycle::plan_of(what);
  }
};
template <class Lifecycle, operation Which, act... Acts>
using with_acts = with_plan<Lifecycle, Which, planned(Lifecycle::plan_of(Which).makes, {Acts...})>;

constexpr plan without_undo(plan steps, std::size_t at) noexcept {
  steps.steps[at].backward = act::nothing;
  return steps;
}

using holds_after_the_pin = with_acts<of_groups, operation::attach_first, act::join, act::replay,
                                      act::raise_holds, act::commit>;
/// QEMU since 53d1b5fcfb: a group joins an existing container, a pin point, before discards are
/// disabled.
using joins_before_it_holds =
    with_acts<of_groups, operation::attach_next, act::join, act::raise_holds, act::commit>;
/// QEMU's vfio_put_group: discards are allowed again while the mappings are live.
using releases_before_it_unmaps = with_acts<of_groups, operation::detach_last, act::commit,
                                            act::lower_holds, act::withdraw, act::leave>;
/// QEMU's iommufd, both ways.
using device_joins_before_it_holds =
    with_acts<of_devices, operation::attach_next, act::judge, act::open, act::bind, act::join,
              act::raise_holds, act::commit>;
using device_releases_before_it_leaves =
    with_acts<of_devices, operation::detach_last, act::commit, act::lower_holds, act::withdraw,
              act::leave, act::close>;
using leaks_on_failure = with_plan<of_groups, operation::attach_first,
                                   without_undo(of_groups::plan_of(operation::attach_first), 0)>;
/// A detach has no device whose consent could be judged.
using judges_a_detach = with_acts<of_groups, operation::detach_last, act::judge, act::withdraw,
                                  act::leave, act::commit, act::lower_holds>;
using never_judges = with_acts<of_groups, operation::open, act::raise_holds, act::open, act::commit,
                               act::lower_holds>;

/// Populated once, when it was mapped, and never again: Linux 6.1 pins the zero page for what was
/// discarded meanwhile.
using joins_what_was_discarded =
    with_acts<of_groups, operation::attach_next, act::raise_holds, act::join, act::commit>;
using populates_before_it_holds = with_acts<of_groups, operation::attach_next, act::populate,
                                            act::raise_holds, act::join, act::commit>;
using opens_what_was_discarded = with_acts<of_groups, operation::open, act::judge, act::raise_holds,
                                           act::open, act::commit, act::lower_holds>;
using device_joins_what_was_discarded =
    with_acts<of_devices, operation::attach_next, act::judge, act::open, act::bind,
              act::raise_holds, act::join, act::commit>;

// Rules.

struct counts_but_does_not_drain : proof::machinery {
  static constexpr bool gate_drains = false;
};
/// What got stuck while attaching is forgotten: the holds are released, and it is still pinned.
struct abandons_what_it_knows : proof::machinery {
  static constexpr bool abandon_unpins = false;
};
/// A closed device stays in the counts.
struct never_counts_down : proof::machinery {
  static constexpr void apply_change(container_counts& container, group_counts& group, change what,
                                     consent agrees) noexcept {
    if (what != change::close) tether::apply_change(container, group, what, agrees);
  }
};
/// A rollback that failed counts as done, and what could not be restored as restored.
struct goes_on_after_a_failed_undo : proof::machinery {
  template <class Lifecycle>
  static constexpr cursor advance(cursor at, outcome how) noexcept {
    if (at.backward) return tether::advance<Lifecycle>(at, outcome::done);
    return tether::advance<Lifecycle>(at, how == outcome::stuck ? outcome::failed : how);
  }
};

template <class Policy, class Lifecycle = of_groups, class Machinery = proof::machinery>
using seeded = proof::abstraction<Policy, Lifecycle, true, hold_kind::any, Machinery>;

}  // namespace tether::seeds
