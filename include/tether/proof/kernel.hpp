// SPDX-License-Identifier: BSL-1.0
// What a kernel pins when: the only thing in the proof that is modelled and not tether's own code. It is what has to be
// believed, so it is short, and the system tests hold it against real kernels.
#pragma once

#include <tether/core/attachment.hpp>
#include <tether/inhibit/books.hpp>
#include <tether/proof/essence.hpp>
#include <tether/proof/world.hpp>

#include <cstddef>

namespace tether::proof {

/// Whether the kernel has anything of the container's joined.
template <attach_unit Unit, class Scope>
[[nodiscard]] constexpr bool reaches(container_state<Scope> const& container) noexcept {
  if (Unit == attach_unit::device && container.device.joined) return true;
  for (group_state const& group : container.groups) {
    if (Unit == attach_unit::group ? group.joined : group.users + group.vouched != 0) return true;
  }
  return false;
}

/// Whether a group can hold a pin (law 1). An IOMMU pins whatever is mapped as soon as the group has joined, with no device open; a
/// mediated group pins by its open devices, save those that agreed to discards and use only what a request names.
template <attach_unit Unit, class Scope>
[[nodiscard]] constexpr bool can_pin(container_state<Scope> const& container, std::size_t at) noexcept {
  group_state const& group = container.groups[at];
  const bool at_hand = at == container.active && (Unit == attach_unit::group ? container.device.open : container.device.joined);
  const bool pinning_users = group.users != 0 || (at_hand && container.agrees == consent::none);
  if (group.mediated) return pinning_users && (Unit == attach_unit::device || group.joined);
  return Unit == attach_unit::group ? group.joined : pinning_users || group.vouched != 0 || at_hand;
}
template <class Essence, class Scope>
[[nodiscard]] constexpr bool can_pin(container_state<Scope> const& container) noexcept {
  bool any = false;
  for (std::size_t at = 0; at < Scope::groups; ++at) any = any || can_pin<Essence::unit>(container, at);
  return Essence::pins && any;
}

/// The CPU writes to the page: if it was gone, it gets a new one, and who has pinned what was there before keeps that.
template <class Scope>
constexpr void touch(world<Scope>& here) noexcept {
  if (!here.absent) return;
  here.absent = false;
  for (auto& container : here.containers) {
    if (container.page == page_relation::pinned_same) container.page = page_relation::pinned_other;
  }
}

/// The page is populated. Where somebody has pinned what was there before, the two disagree from now on; the guest's next write shows it
/// just as well, and is told instead.
template <class Scope>
constexpr void populate(world<Scope>& here) noexcept {
  for (auto const& container : here.containers) {
    if (container.page == page_relation::pinned_same) return;
  }
  here.absent = false;
}

/// The page is discarded. That is noticed only where it is mapped: what is not is populated before it is.
template <class Scope>
constexpr void discard(world<Scope>& here) noexcept {
  for (auto const& container : here.containers) here.absent = here.absent || container.page != page_relation::none;
}
/// Something was unmapped: where nobody has the page mapped any more, it makes no difference whether it is there.
template <class Scope>
constexpr void overlook(world<Scope>& here) noexcept {
  bool mapped = false;
  for (auto const& container : here.containers) mapped = mapped || container.page != page_relation::none;
  here.absent = here.absent && mapped;
}

/// After anything has joined or left, or has been opened, closed, mapped or unmapped: what is mapped is pinned exactly while somebody
/// can pin it, from the moment he can. Joining a container that has mappings is itself a pin point. A mapping that may be written to
/// brings the page in when it is pinned; a read-only one of private memory pins what is there, and on Linux 6.1 that is the zero page
/// where nothing is. The world takes the page to be mapped read-only, because that is the worse of the two.
template <class Essence, class Scope>
constexpr void pin(world<Scope>& here, std::size_t which) noexcept {
  auto& container = here.containers[which];
  if (container.page == page_relation::none) return;
  if (!can_pin<Essence>(container)) container.page = page_relation::recorded;
  else if (container.page == page_relation::recorded) container.page = page_relation::pinned_same;
}

}  // namespace tether::proof
