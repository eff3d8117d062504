// SPDX-License-Identifier: BSL-1.0
// A state of the model: one page of guest memory, and everything that can make the CPU and a device
// disagree about it. It has the counts that the code under proof keeps, and beside them the facts,
// which that code never sees and by which it is judged.
//
//     world -- container -- group
//       |          |          +-- counts, held                     as the code keeps them
//       |          |          +-- joined, declining, in_kvm ...    as the kernel has them
//       |          +-- the operation in progress, and its device
//       |          +-- the page as the container's devices see it
//       +-- the page as the CPU sees it: discarded while it was mapped (absent), or not
//       +-- a discarder's permit
#pragma once

#include <tether/attach/lifecycle/plans.hpp>
#include <tether/core/attachment.hpp>
#include <tether/inhibit/membership.hpp>
#include <tether/proof/model/abstraction.hpp>

#include <cstddef>
#include <cstdint>

namespace tether::proof {

/// One group. The first two are the code's, the rest are facts.
struct group_state {
  group_counts counts{};   ///< the membership
  std::uint32_t held = 0;  ///< holds that it has
  /// open devices that did not agree; where devices are attached one by one they have also joined
  std::uint32_t declining = 0;
  std::uint32_t consenting = 0;  ///< open devices that agreed
  bool joined = false;           ///< the group has joined; only where groups attach as a whole
  bool in_kvm = false;           ///< KVM has a reference to it
  bool acquired = false;         ///< its descriptor is open
  bool mediated = false;         ///< not behind an IOMMU: it pins what its devices pin

  friend constexpr bool operator==(group_state const&, group_state const&) noexcept = default;
};

/// The page as the devices of a container see it.
enum class page_relation : std::uint8_t {
  none,          ///< not mapped
  recorded,      ///< mapped, not pinned
  pinned_same,   ///< pinned, and it is the CPU's page, or what stands for it while it has none
  pinned_other,  ///< pinned, and the CPU has another one: a stale mapping
};

/// The device of the operation in progress; devices at rest are counted in their group.
struct device_state {
  bool open = false;    ///< it is open
  bool bound = false;   ///< it is bound to its I/O address spaces
  bool joined = false;  ///< it has joined
  /// KVM has a reference to it.
  bool in_kvm = false;

  friend constexpr bool operator==(device_state const&, device_state const&) noexcept = default;
};

/// One container. Its own counts are a function of its groups', so they are not stored but
/// computed, and compared at each commit.
template <class Scope>
struct container_state {
  static constexpr std::size_t no_group = Scope::groups;  ///< of a container at rest

  group_state groups[Scope::groups]{};  ///< all that it can have
  std::uint32_t held = 0;               ///< holds of its own
  cursor at{};                          ///< of the operation in progress
  /// the group of the operation in progress, or of the one that diverged
  std::size_t active = no_group;
  consent agrees = consent::none;
  bool diverged = false;
  /// the replay in progress has mapped the page and is about to fail
  bool replay_will_fail = false;
  page_relation page = page_relation::none;
  device_state device{};

  friend constexpr bool operator==(container_state const&,
                                   container_state const&) noexcept = default;

  /// Whether no operation is in progress.
  [[nodiscard]] constexpr bool at_rest() const noexcept { return active == no_group; }
  /// The counts of its groups together.
  [[nodiscard]] constexpr container_counts counts() const noexcept {
    container_counts all{};
    for (group_state const& group : groups) {
      all.members += group.counts.attached ? 1U : 0U;
      all.need_no_hold += group.counts.needs_no_hold() ? 1U : 0U;
    }
    return all;
  }
};

/// The whole state.
template <class Scope>
struct world {
  container_state<Scope> containers[Scope::containers]{};  ///< all of them
  /// a container has the page mapped, but it was discarded: the next CPU write faults in another
  bool absent = false;
  bool permit = false;  ///< a discard has a permit, and is not over
  bool leaked = false;  ///< the gate counts a hold that will never be released

  /// The number of holds that the gate counts.
  [[nodiscard]] constexpr std::uint32_t holds() const noexcept {
    std::uint32_t all = leaked ? 1 : 0;
    for (auto const& container : containers) {
      all += container.held;
      for (group_state const& group : container.groups) all += group.held;
    }
    return all;
  }
};

}  // namespace tether::proof
