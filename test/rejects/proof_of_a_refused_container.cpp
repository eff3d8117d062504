// SPDX-License-Identifier: BSL-1.0
// expects: tether\[I9\]: an inhibition policy's 'holds' and 'admits' must be constant expressions
#include <tether/attach/container.hpp>
#include <tether/backend/io_uring_buffers.hpp>
#include <tether/proof/proven_safe.hpp>

#include <cstdint>

// What is refused as a container is not refused once more by its proof.
struct asks_later {
  using slot = tether::inhibition_slot;
#ifdef TETHER_CONTROL
  static constexpr std::uint32_t holds(tether::group_counts group) noexcept {
#else
  static std::uint32_t holds(tether::group_counts group) noexcept {
#endif
      return group.attached && !group.needs_no_hold() ? 1 : 0;
}
}
;
static_assert(tether::proven_safe<tether::container<tether::io_uring_buffers, asks_later>>);
