// SPDX-License-Identifier: BSL-1.0
// One hold for each open device that did not agree, and the group's own until one of its devices has agreed:
// without that one, memory could be pinned and discarded before the first device exists.
#pragma once

#include <tether/inhibit/concepts.hpp>

#include <cstdint>

namespace tether {

/// Admits mixed groups, because each device counts for itself.
struct inhibit_per_device {
  using slot = inhibition_slot;
  [[nodiscard]] static constexpr std::uint32_t holds(group_tally group) noexcept {
    return (group.attached && !group.known ? 1 : 0) + group.others;
  }
};

}  // namespace tether
