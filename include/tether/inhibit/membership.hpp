// SPDX-License-Identifier: BSL-1.0
// Membership counts (attached groups, open devices, devices that agreed to discards), the same for
// every inhibition policy, and the one function that changes them. A policy is a pure function of
// these counts and has no state of its own (law 10): `concepts.hpp`.
#pragma once

#include <tether/version.hpp>

#include <cstdint>

namespace tether {

/// Whether an endpoint agrees to discards going on while it is open (opt-in, law 2). The two values
/// are what records and the proof compare with.
enum class consent : std::uint8_t { none, given };
/// `consent::given`, as it is said where a device is opened: `open(name, agrees_to_discards)`.
inline constexpr consent agrees_to_discards = consent::given;

// None of these counts can overflow: every counted device and group has a record in this process,
// and 2^32 records need more memory than it can address on any host that pins memory today.

/// One group.
struct group_counts {
  std::uint32_t agreed = 0;    ///< open devices that agreed to discards
  std::uint32_t declined = 0;  ///< open devices that did not
  bool attached = false;       ///< whether the group is attached
  /// Whether the IOMMU pins for this group is known: one of its devices has agreed, or each was
  /// asked before it was attached. Stays true until the group detaches: otherwise closing that
  /// device would have to retake a hold, and closing must not be able to fail.
  bool consent_known = false;

  friend constexpr bool operator==(group_counts const&, group_counts const&) noexcept = default;

  /// Needs no hold, because nothing can pin for this group: `consent_known`, and no open device
  /// that did not agree.
  [[nodiscard]] constexpr bool needs_no_hold() const noexcept {
    return consent_known && declined == 0;
  }
  [[nodiscard]] constexpr std::uint32_t open() const noexcept { return agreed + declined; }
};

/// One container.
struct container_counts {
  std::uint32_t members = 0;       ///< attached groups
  std::uint32_t need_no_hold = 0;  ///< those of them that need no hold

  friend constexpr bool operator==(container_counts const&,
                                   container_counts const&) noexcept = default;
};

/// The counts of a container and of the group that an operation concerns.
struct membership {
  container_counts container;  ///< of the container
  group_counts group;          ///< of the group concerned
};

/// How membership can change. Where groups are attached, their devices are opened afterwards; where
/// single devices are attached, the first device of a group attaches the group and the last one
/// detaches it.
enum class change : std::uint8_t {
  none,
  attach,
  detach,
  open,
  close,
  attach_device,
  detach_device
};

/// Applies a change to the counts of the container and the group. Requires: it is possible (what
/// closes is open, what detaches is attached and has nothing open). Pure: the runtime and the proof
/// call this very function.
/// Always inlined: a container passes a constant `what`, so the switch folds away.
[[gnu::always_inline]] constexpr void apply_change(container_counts& container, group_counts& group,
                                                   change what, consent agrees) noexcept {
  const bool needed_none = group.needs_no_hold();
  std::uint32_t& opened = agrees == consent::given ? group.agreed : group.declined;
  switch (what) {
    case change::none: break;
    case change::attach:
      group.attached = true;
      container.members += 1;
      break;
    case change::detach:
      group = group_counts{};
      container.members -= 1;
      break;
    case change::open:
      opened += 1;
      group.consent_known = group.consent_known || agrees == consent::given;
      break;
    case change::close: opened -= 1; break;
    case change::attach_device:
      container.members += group.attached ? 0 : 1;
      group.attached = true;
      // its consent was asked before it could pin, so no provisional hold is needed
      group.consent_known = true;
      opened += 1;
      break;
    case change::detach_device:
      opened -= 1;
      if (group.open() == 0) {
        group = group_counts{};
        container.members -= 1;
      }
      break;
  }
  container.need_no_hold +=
      static_cast<std::uint32_t>(group.needs_no_hold()) - static_cast<std::uint32_t>(needed_none);
}

/// The counts as they will be once the change is made.
[[nodiscard, gnu::always_inline]] constexpr membership after_change(membership counts, change what,
                                                                    consent agrees) noexcept {
  apply_change(counts.container, counts.group, what, agrees);
  return counts;
}

}  // namespace tether
