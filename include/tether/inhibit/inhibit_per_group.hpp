// SPDX-License-Identifier: BSL-1.0
// One hold for each attached group that is not settled: QEMU's rule since 2018 (c65ee43315). A
// group is the IOMMU's unit of isolation, so it is also what pins; and it is attached before its
// devices are opened.
#pragma once

#include <tether/inhibit/concepts.hpp>

#include <cstdint>

namespace tether {

/// Source: QEMU c65ee43315 and 238e917285.
struct inhibit_per_group {
  using slot = inhibition_slot;
  [[nodiscard]] static constexpr std::uint32_t holds(group_tally group) noexcept { return group.attached && !group.settled() ? 1 : 0; }
  /// A mixed group is refused, whichever kind of device was opened first.
  [[nodiscard]] static constexpr bool admits(group_tally group) noexcept { return group.agreed == 0 || group.others == 0; }
};

}  // namespace tether
