// SPDX-License-Identifier: BSL-1.0
// expects: tether\[I12\]: this inhibition policy treats many groups or devices otherwise than two
#include <tether/attach/container.hpp>
#include <tether/backend/io_uring_buffers.hpp>

#include <cstdint>

// Right for two devices. Of three the one that did not agree is outvoted.
struct majority {
  using slot = tether::inhibition_slot;
  static constexpr std::uint32_t holds(tether::group_counts group) noexcept {
#ifdef TETHER_CONTROL
    return group.attached && !group.consent_known ? 1 : group.declined;
#else
    return group.attached && !group.consent_known ? 1 : group.declined > group.agreed / 2 ? 1 : 0;
#endif
  }
};

using passthrough = tether::container<tether::io_uring_buffers, majority>;
#include <rejects/program.hpp>
