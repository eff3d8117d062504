// SPDX-License-Identifier: BSL-1.0
// What is modelled, against what was measured on real kernels: who pins when, and when CPU and
// device part.
#include <tether/proof/model/kernel.hpp>

#include <tether/attach/lifecycle/plans.hpp>
#include <tether/inhibit/policies.hpp>
#include <tether/proof/model/abstraction.hpp>

namespace tether::proof {
namespace {

using of_groups = abstraction<inhibit_per_group, lifecycle_of<attach_unit::group>>;
using of_devices = abstraction<inhibit_per_group, lifecycle_of<attach_unit::device>>;
using nobody_pins = abstraction<inhibit_per_group, lifecycle_of<attach_unit::group>, false>;
using little = world<small_scope>;

/// A container that has the page mapped, and one group.
template <class Abstraction>
constexpr little with(group_state group) {
  little here{};
  here.containers[0].groups[0] = group;
  here.containers[0].page = page_relation::recorded;
  pin<Abstraction>(here, 0);
  return here;
}
template <class Abstraction>
constexpr bool pinned(group_state group) {
  return with<Abstraction>(group).containers[0].page == page_relation::pinned_same;
}

// An IOMMU-backed group pins with no device open; a mediated one by its open devices that did not
// agree.
static_assert(pinned<of_groups>({.joined = true}) && !pinned<of_groups>({}));
static_assert(!pinned<of_groups>({.joined = true, .mediated = true}));
static_assert(!pinned<of_groups>({.consenting = 1, .joined = true, .mediated = true}));
static_assert(
    pinned<of_groups>({.declining = 1, .consenting = 1, .joined = true, .mediated = true}));
// Single devices: once joined, by what they are and whether they agreed.
static_assert(pinned<of_devices>({.declining = 1}) &&
              pinned<of_devices>({.declining = 1, .mediated = true}));
static_assert(!pinned<of_devices>({.consenting = 1, .mediated = true}) &&
              pinned<of_devices>({.consenting = 1}));
static_assert(!pinned<nobody_pins>({.declining = 1, .joined = true}));

// A device at hand counts from its opening in a group that has joined, and from its own joining
// else.
constexpr little opening = [] {
  little here = with<of_groups>({.joined = true, .mediated = true});
  here.containers[0].active = 0;
  here.containers[0].device.open = true;
  pin<of_groups>(here, 0);
  return here;
}();
static_assert(opening.containers[0].page == page_relation::pinned_same);
static_assert(!can_pin<attach_unit::device>(opening.containers[0], 0));

// Joining a container that has mappings is itself a pin point, and it ends when the last who pins
// leaves.
constexpr little joined_later = [] {
  little here = with<of_groups>({.joined = true, .mediated = true});
  here.containers[0].groups[1].joined = true;
  pin<of_groups>(here, 0);
  return here;
}();
static_assert(joined_later.containers[0].page == page_relation::pinned_same);
constexpr little left_again = [] {
  little here = joined_later;
  here.containers[0].groups[1].joined = false;
  pin<of_groups>(here, 0);
  return here;
}();
static_assert(left_again.containers[0].page == page_relation::recorded);

// Discarded under a pin, the page is another one at the next touch. Discarded before, a read-only
// pin takes the zero page, unless the page is brought in first.
constexpr little torn = [] {
  little here = joined_later;
  discard(here);
  touch(here);
  return here;
}();
static_assert(torn.containers[0].page == page_relation::pinned_other && !torn.absent);
constexpr auto discarded_before = [](bool brought_in) {
  little here = left_again;
  discard(here);
  if (brought_in) populate(here);
  here.containers[0].groups[1].joined = true;
  pin<of_groups>(here, 0);
  touch(here);
  return here;
};
static_assert(discarded_before(true).containers[0].page == page_relation::pinned_same);
static_assert(discarded_before(false).containers[0].page == page_relation::pinned_other);

// What is mapped by nobody is nobody's business; who has pinned what was there before keeps it,
// whoever brings another page in.
constexpr little unmapped_again = [] {
  little here = left_again;
  discard(here);
  here.containers[0].page = page_relation::none;
  clear_absent_if_unmapped(here);
  return here;
}();
static_assert(!unmapped_again.absent);
constexpr little brought_in_beside_a_pin = [] {
  little here = joined_later;
  discard(here);
  populate(here);
  touch(here);
  return here;
}();
static_assert(brought_in_beside_a_pin.containers[0].page == page_relation::pinned_other);

}  // namespace
}  // namespace tether::proof
