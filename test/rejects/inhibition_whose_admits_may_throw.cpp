// SPDX-License-Identifier: BSL-1.0
// expects: tether\[I8\]: this inhibition policy has a 'holds', 'admits' or 'never_inhibits' that would never be asked
#include <tether/attach/container.hpp>
#include <tether/backend/io_uring_buffers.hpp>

#include <cstdint>

// It would never be asked, and a mixed group be let in.
struct asks_nobody {
  using slot = tether::inhibition_slot;
  static constexpr std::uint32_t holds(tether::group_counts group) noexcept {
    return group.attached && !group.needs_no_hold() ? 1 : 0;
  }
#ifdef TETHER_CONTROL
  static constexpr bool admits(tether::group_counts group) noexcept {
    return group.agreed == 0 || group.declined == 0;
  }
#else
  static constexpr bool admits(tether::group_counts group) {
    return group.agreed == 0 || group.declined == 0;
  }
#endif
};

using passthrough = tether::container<tether::io_uring_buffers, asks_nobody>;
#include <rejects/program.hpp>
