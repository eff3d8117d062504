// SPDX-License-Identifier: BSL-1.0
// expects: tether\[I12\]: this inhibition policy treats many groups or devices otherwise than two
#include <tether/attach/container.hpp>
#include <tether/backend/io_uring_buffers.hpp>

#include <cstdint>

// Right for three groups, and for the four of which the gate would be open all is well in a small
// world.
struct counts_in_two_bits {
  using slot = tether::inhibition_slot;
  static constexpr std::uint32_t holds(tether::container_counts all) noexcept {
#ifdef TETHER_CONTROL
    return all.members - all.need_no_hold;
#else
    return (all.members - all.need_no_hold) & 3;
#endif
  }
};

using passthrough = tether::container<tether::io_uring_buffers, counts_in_two_bits>;
#include <rejects/program.hpp>
