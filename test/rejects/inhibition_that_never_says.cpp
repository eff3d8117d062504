// SPDX-License-Identifier: BSL-1.0
// expects: tether\[I2\]: an inhibition policy needs
#include <tether/attach/container.hpp>
#include <tether/backend/io_uring_buffers.hpp>

// A slip of the pen must not become a policy that never inhibits.
struct per_group {
  using slot = tether::inhibition_slot;
#ifdef TETHER_CONTROL
  static constexpr std::uint32_t holds(tether::group_counts group) noexcept {
    return group.attached ? 1 : 0;
  }
#else
  static constexpr std::uint32_t hold(tether::group_counts group) noexcept {
    return group.attached ? 1 : 0;
  }
#endif
};

using passthrough = tether::container<tether::io_uring_buffers, per_group>;
#include <rejects/program.hpp>
