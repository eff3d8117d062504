// SPDX-License-Identifier: BSL-1.0
// What a device may do with a mapping. Named from the device's side: `write` is the device writing RAM.
#pragma once

#include <cstdint>

namespace tether {

enum class access : std::uint8_t { none = 0, read = 1, write = 2, read_write = 3 };

/// Whether `granted` covers all of `wanted`.
[[nodiscard]] constexpr bool allows(access granted, access wanted) noexcept {
  return (static_cast<unsigned>(granted) & static_cast<unsigned>(wanted)) == static_cast<unsigned>(wanted);
}

}  // namespace tether
