// SPDX-License-Identifier: BSL-1.0
// One hold for the whole container while any group in it is not settled. The fewest holds, and the
// policy that is easiest to get wrong by hand: the hold must be taken again before *every* join.
#pragma once

#include <tether/inhibit/concepts.hpp>

#include <cstdint>

namespace tether {

struct inhibit_per_container {
  using slot = inhibition_slot;
  [[nodiscard]] static constexpr std::uint32_t holds(container_tally container) noexcept {
    return container.settled < container.members ? 1 : 0;
  }
  /// A mixed group (one device agreed, another did not) is refused: consent is for a whole group.
  [[nodiscard]] static constexpr bool admits(group_tally group) noexcept { return group.agreed == 0 || group.others == 0; }
};

}  // namespace tether
