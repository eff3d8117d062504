// SPDX-License-Identifier: BSL-1.0
// The inhibition policies: how many holds a container takes, for what is attached. Each is a pure
// rule from counts to holds; one of your own is written the same way (`inhibit/concepts.hpp`).
//
//                          holds                                    mixed groups
//     inhibit_per_group      one for each group that needs one        refused    (the default)
//     inhibit_per_container  one, while any group needs one           refused
//     inhibit_per_device     one for each open device that declined,  allowed
//                            and the group's until one has agreed
//     no_inhibition          none: only for backends that pin nothing
#pragma once

#include <tether/inhibit/concepts.hpp>

#include <cstdint>

namespace tether {

/// One hold for each attached group that needs one: QEMU's rule since 2018 (c65ee43315). A group is
/// the IOMMU's unit of isolation, so it is also what pins; and it is attached before its devices
/// are opened.
/// Source: QEMU c65ee43315 and 238e917285.
struct inhibit_per_group {
  using slot = inhibition_slot;
  [[nodiscard]] static constexpr std::uint32_t holds(group_counts group) noexcept {
    return group.attached && !group.needs_no_hold() ? 1 : 0;
  }
  /// A mixed group is refused, whichever kind of device was opened first.
  [[nodiscard]] static constexpr bool admits(group_counts group) noexcept {
    return group.agreed == 0 || group.declined == 0;
  }
};

/// One hold for the whole container while any group in it needs one. The fewest holds, and the
/// policy that is easiest to get wrong by hand: the hold must be taken again before *every* join.
struct inhibit_per_container {
  using slot = inhibition_slot;
  [[nodiscard]] static constexpr std::uint32_t holds(container_counts container) noexcept {
    return container.need_no_hold < container.members ? 1 : 0;
  }
  /// A mixed group (one device agreed, another did not) is refused: consent is for a whole group.
  [[nodiscard]] static constexpr bool admits(group_counts group) noexcept {
    return group.agreed == 0 || group.declined == 0;
  }
};

/// One hold for each open device that did not agree, and one for the group until one of its devices
/// has agreed: without the group's, memory could be pinned and discarded before the first device is
/// open.
/// Admits mixed groups, because each device has its own hold.
struct inhibit_per_device {
  using slot = inhibition_slot;
  [[nodiscard]] static constexpr std::uint32_t holds(group_counts group) noexcept {
    return (group.attached && !group.consent_known ? 1 : 0) + group.declined;
  }
};

/// Never inhibits a discard. For backends that pin nothing, which get it whatever policy was asked
/// for; refused for backends that pin (tether[I1]).
struct no_inhibition {
  using slot = inhibition_slot;
  static constexpr bool never_inhibits = true;
};

}  // namespace tether
