// SPDX-License-Identifier: BSL-1.0
// expects: tether\[I11\]: this inhibition policy needs more holds after a device was closed
#include <tether/attach/container.hpp>
#include <tether/backend/io_uring_buffers.hpp>

#include <cstdint>

// Closing the last device that did not agree would have to take a hold, and may not get it.
struct holds_twice_while_unknown {
  using slot = tether::inhibition_slot;
  static constexpr std::uint32_t holds(tether::group_counts group) noexcept {
#ifdef TETHER_CONTROL
    return group.attached && !group.needs_no_hold() ? 1 + group.declined : 0;
#else
    return group.needs_no_hold() || !group.attached ? 0 : group.declined != 0 ? 1 : 2;
#endif
  }
};

using passthrough = tether::container<tether::io_uring_buffers, holds_twice_while_unknown>;
#include <rejects/program.hpp>
