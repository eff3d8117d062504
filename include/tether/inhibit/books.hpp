// SPDX-License-Identifier: BSL-1.0
// Who is attached, who is open, who agreed: plain counts, the same for every inhibition policy, and the
// one function that changes them. A policy is a rule over these counts and keeps none of its own (law 10).
#pragma once

#include <cstdint>

namespace tether {

/// Whether an endpoint agrees to discards going on while it is open (opt-in, law 2).
enum class consent : std::uint8_t { none, given };
/// For `open(name, agrees_to_discards)`.
inline constexpr consent agrees_to_discards = consent::given;

// None of these counts can wrap: each device and each group that is counted has a record in this process, and 2^32 of them would
// need more memory than its addresses reach on any host that pins memory today.

/// One group.
struct group_tally {
  std::uint32_t agreed = 0;  ///< open devices that agreed to discards
  std::uint32_t others = 0;  ///< open devices that did not
  bool attached = false;
  /// It is known whether the IOMMU pins for this group: one of its devices has agreed, or each was asked before it was attached. Stays
  /// until the group detaches: else closing that device would have to retake a hold, and closing must not be able to fail.
  bool known = false;

  friend constexpr bool operator==(group_tally const&, group_tally const&) noexcept = default;

  /// Nothing can pin for it: known, and no device open that did not agree.
  [[nodiscard]] constexpr bool settled() const noexcept { return known && others == 0; }
  [[nodiscard]] constexpr std::uint32_t open() const noexcept { return agreed + others; }
};

/// One container.
struct container_tally {
  std::uint32_t members = 0;  ///< attached groups
  std::uint32_t settled = 0;  ///< those of them that have settled

  friend constexpr bool operator==(container_tally const&, container_tally const&) noexcept = default;
};

/// How membership can change. Where groups are attached, their devices are opened afterwards; where devices are attached one by
/// one, the first of a group brings its group with it and the last one takes it away.
enum class change : std::uint8_t { none, attach, detach, open, close, attach_device, detach_device };

/// Enters a change in both books. Requires: it is possible (what closes is open, what detaches is attached and has
/// nothing open). Pure: the runtime and the proof call this very function.
/// Always inlined: at run time `what` is known to the compiler, and its switch vanishes.
[[gnu::always_inline]] constexpr void enact(container_tally& container, group_tally& group, change what, consent agrees) noexcept {
  const bool was_settled = group.settled();
  std::uint32_t& opened = agrees == consent::given ? group.agreed : group.others;
  switch (what) {
    case change::none: break;
    case change::attach:
      group.attached = true;
      container.members += 1;
      break;
    case change::detach:
      group = group_tally{};
      container.members -= 1;
      break;
    case change::open:
      opened += 1;
      group.known = group.known || agrees == consent::given;
      break;
    case change::close: opened -= 1; break;
    case change::attach_device:
      container.members += group.attached ? 0 : 1;
      group.attached = true;
      group.known = true;  // it said before it could pin whether it agrees, so nothing is provisional
      opened += 1;
      break;
    case change::detach_device:
      opened -= 1;
      if (group.open() == 0) {
        group = group_tally{};
        container.members -= 1;
      }
      break;
  }
  container.settled += static_cast<std::uint32_t>(group.settled()) - static_cast<std::uint32_t>(was_settled);
}

}  // namespace tether
