// SPDX-License-Identifier: BSL-1.0
// expects: tether\[I8\]: this inhibition policy has a 'holds', 'admits' or 'never_inhibits' that would never be asked
#include <tether/attach/container.hpp>
#include <tether/backend/io_uring_buffers.hpp>

#include <cstdint>

// One of two is right, so the policy looks right; the other would never be asked.
struct half_right {
  using slot = tether::inhibition_slot;
  static constexpr std::uint32_t holds(tether::group_counts group) noexcept {
    return group.attached && !group.needs_no_hold() ? 1 : 0;
  }
#ifdef TETHER_CONTROL
  static constexpr std::uint32_t holds(tether::container_counts all) noexcept {
    return all.need_no_hold < all.members ? 1 : 0;
  }
#else
  static constexpr std::uint32_t holds(tether::container_counts all) {
    return all.need_no_hold < all.members ? 1 : 0;
  }
#endif
};

using passthrough = tether::container<tether::io_uring_buffers, half_right>;
#include <rejects/program.hpp>
