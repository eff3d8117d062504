// SPDX-License-Identifier: BSL-1.0
// What identifies a gate. Gates are numbered in the order in which they are made.
#pragma once

#include <tether/core/discard_permit.hpp>

#include <atomic>
#include <cstdint>

namespace tether::detail {

inline std::atomic<std::uint32_t> gates_made{0};
/// Never `none`, even after the counter has wrapped.
[[nodiscard]] inline gate_id next_gate_id() noexcept {
  std::uint32_t number = 0;
  while (number == 0) number = gates_made.fetch_add(1, std::memory_order_relaxed) + 1;
  return gate_id{number};
}

}  // namespace tether::detail
