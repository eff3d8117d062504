// SPDX-License-Identifier: BSL-1.0
// expects: tether\[I10\]: this inhibition policy needs a hold where nothing is attached
#include <tether/attach/container.hpp>
#include <tether/backend/io_uring_buffers.hpp>

#include <cstdint>

// Its group is gone, its hold would be counted for ever.
struct forgets_attached {
  using slot = tether::inhibition_slot;
  static constexpr std::uint32_t holds(tether::group_counts group) noexcept {
#ifdef TETHER_CONTROL
    return group.attached && !group.needs_no_hold() ? 1 : 0;
#else
    return group.needs_no_hold() ? 0 : 1;
#endif
  }
};

using passthrough = tether::container<tether::io_uring_buffers, forgets_attached>;
#include <rejects/program.hpp>
