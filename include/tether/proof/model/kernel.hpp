// SPDX-License-Identifier: BSL-1.0
// What a kernel pins, and when: the only part of the proof that is a model and not tether's own
// code. It is an assumption, so it is short, and the system tests check it against real kernels.
#pragma once

#include <tether/core/attachment.hpp>
#include <tether/inhibit/membership.hpp>
#include <tether/proof/model/abstraction.hpp>
#include <tether/proof/model/state.hpp>

#include <cstddef>

namespace tether::proof {

/// Whether any group or device of the container has joined, as the kernel has it.
template <attach_unit Unit, class Scope>
[[nodiscard]] constexpr bool reaches(container_state<Scope> const& container) noexcept {
  if (Unit == attach_unit::device && container.device.joined) return true;
  for (group_state const& group : container.groups) {
    if (Unit == attach_unit::group ? group.joined : group.declining + group.consenting != 0)
      return true;
  }
  return false;
}

/// Whether a group can hold a pin (law 1). Behind an IOMMU all that is mapped is pinned as soon as
/// the group has joined, even with no device open; a mediated group pins through its open devices,
/// except those that agreed to discards and use only what a request names.
template <attach_unit Unit, class Scope>
[[nodiscard]] constexpr bool can_pin(container_state<Scope> const& container,
                                     std::size_t at) noexcept {
  group_state const& group = container.groups[at];
  const bool active_device =
      at == container.active &&
      (Unit == attach_unit::group ? container.device.open : container.device.joined);
  const bool declining =
      group.declining != 0 || (active_device && container.agrees == consent::none);
  if (group.mediated) return declining && (Unit == attach_unit::device || group.joined);
  return Unit == attach_unit::group ? group.joined
                                    : declining || group.consenting != 0 || active_device;
}
template <class Abstraction, class Scope>
[[nodiscard]] constexpr bool can_pin(container_state<Scope> const& container) noexcept {
  bool any = false;
  for (std::size_t at = 0; at < Scope::groups; ++at)
    any = any || can_pin<Abstraction::unit>(container, at);
  return Abstraction::pins && any;
}

/// The CPU writes to the page. If it was discarded, the write faults in a new one, and a container
/// that has the old one pinned keeps that: a stale mapping.
template <class Scope>
constexpr void touch(world<Scope>& here) noexcept {
  if (!here.absent) return;
  here.absent = false;
  for (auto& container : here.containers) {
    if (container.page == page_relation::pinned_same) container.page = page_relation::pinned_other;
  }
}

/// The page is populated. If a container still pins what was there before, its mapping is stale
/// from now on; the guest's next write shows that just as well, and is reported instead.
template <class Scope>
constexpr void populate(world<Scope>& here) noexcept {
  for (auto const& container : here.containers) {
    if (container.page == page_relation::pinned_same) return;
  }
  here.absent = false;
}

/// The page is discarded. Recorded only while a container has it mapped: else it is populated
/// before it is mapped again.
template <class Scope>
constexpr void discard(world<Scope>& here) noexcept {
  for (auto const& container : here.containers)
    here.absent = here.absent || container.page != page_relation::none;
}
/// After an unmap: once no container has the page mapped, it makes no difference whether it is
/// present.
template <class Scope>
constexpr void clear_absent_if_unmapped(world<Scope>& here) noexcept {
  bool mapped = false;
  for (auto const& container : here.containers)
    mapped = mapped || container.page != page_relation::none;
  here.absent = here.absent && mapped;
}

/// After a join, leave, open, close, map or unmap: what is mapped is pinned exactly while a group
/// or device can pin it, from the moment it can. Joining a container that has mappings is itself a
/// pin point. Pinning a writable mapping faults the page in; pinning a read-only one of private
/// memory pins what is there, which on Linux 6.1 is the zero page if nothing is. The model maps the
/// page read-only, because that is the worse of the two.
template <class Abstraction, class Scope>
constexpr void pin(world<Scope>& here, std::size_t which) noexcept {
  auto& container = here.containers[which];
  if (container.page == page_relation::none) return;
  if (!can_pin<Abstraction>(container)) container.page = page_relation::recorded;
  else if (container.page == page_relation::recorded) container.page = page_relation::pinned_same;
}

}  // namespace tether::proof
