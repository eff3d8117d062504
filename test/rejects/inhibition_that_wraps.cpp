// SPDX-License-Identifier: BSL-1.0
// expects: tether\[I13\]: this inhibition policy needs more than 65,535 holds
#include <tether/attach/container.hpp>
#include <tether/backend/io_uring_buffers.hpp>

#include <cstdint>

// Two groups, and the holds of both are none in 32 bits.
struct counts_by_two_to_the_31st {
  using slot = tether::inhibition_slot;
  static constexpr std::uint32_t holds(tether::group_counts group) noexcept {
#ifdef TETHER_CONTROL
    return group.attached && !group.needs_no_hold() ? 10 : 0;
#else
    return group.attached && !group.needs_no_hold() ? 1U << 31U : 0;
#endif
  }
};

using passthrough = tether::container<tether::io_uring_buffers, counts_by_two_to_the_31st>;
#include <rejects/program.hpp>
