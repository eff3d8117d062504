// SPDX-License-Identifier: BSL-1.0
// expects: tether\[I9\]: an inhibition policy's 'holds' and 'admits' must be constant expressions
#include <tether/attach/container.hpp>
#include <tether/backend/io_uring_buffers.hpp>

#include <cstdint>

// The variable may change at any time; the policy is asked only when the membership does.
struct while_mastering {
  using slot = tether::inhibition_slot;
#ifdef TETHER_CONTROL
  static constexpr bool mastering = true;
#else
  static inline bool mastering = true;
#endif
  static constexpr std::uint32_t holds(tether::group_counts group) noexcept {
    return group.attached && !group.needs_no_hold() && mastering ? 1 : 0;
  }
};

using passthrough = tether::container<tether::io_uring_buffers, while_mastering>;
#include <rejects/program.hpp>
