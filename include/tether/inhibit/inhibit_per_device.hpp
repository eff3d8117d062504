// SPDX-License-Identifier: BSL-1.0
// One hold for each open device that did not agree, and one for the group until one of its devices
// has agreed: without the group's, memory could be pinned and discarded before the first device is
// open.
#pragma once

#include <tether/inhibit/concepts.hpp>

#include <cstdint>

namespace tether {

/// Admits mixed groups, because each device has its own hold.
struct inhibit_per_device {
  using slot = inhibition_slot;
  [[nodiscard]] static constexpr std::uint32_t holds(group_tally group) noexcept {
    return (group.attached && !group.known ? 1 : 0) + group.others;
  }
};

}  // namespace tether
