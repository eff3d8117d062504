// SPDX-License-Identifier: BSL-1.0
// expects: tether\[I2\]: an inhibition policy needs
#include <tether/attach/container.hpp>
#include <tether/backend/io_uring_buffers.hpp>

#include <cstdint>

// A policy has no state, so there is no object to ask.
struct one_for_each {
  using slot = tether::inhibition_slot;
#ifdef TETHER_CONTROL
  static constexpr std::uint32_t holds(tether::group_counts group) noexcept {
    return group.attached && !group.needs_no_hold() ? 1 : 0;
  }
#else
  constexpr std::uint32_t holds(tether::group_counts group) const noexcept {
    return group.attached && !group.needs_no_hold() ? 1 : 0;
  }
#endif
};

using passthrough = tether::container<tether::io_uring_buffers, one_for_each>;
#include <rejects/program.hpp>
