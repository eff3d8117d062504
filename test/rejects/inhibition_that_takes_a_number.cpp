// SPDX-License-Identifier: BSL-1.0
// expects: tether\[I2\]: an inhibition policy needs
#include <tether/attach/container.hpp>
#include <tether/backend/io_uring_buffers.hpp>

#include <cstdint>

// Counts of what?
struct per_device {
  using slot = tether::inhibition_slot;
#ifdef TETHER_CONTROL
  static constexpr std::uint32_t holds(tether::group_counts group) noexcept {
    return group.declined + (group.attached && !group.consent_known ? 1 : 0);
  }
#else
  static constexpr std::uint32_t holds(std::uint32_t devices) noexcept { return devices; }
#endif
};

using passthrough = tether::container<tether::io_uring_buffers, per_device>;
#include <rejects/program.hpp>
