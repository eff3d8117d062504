// SPDX-License-Identifier: BSL-1.0
// The size of what a container has mapped, as a user is told.
#pragma once

#include <tether/version.hpp>

#include <cstdint>

namespace tether {

/// How much a container has mapped now.
struct mapped_usage {
  std::uint64_t mappings = 0;  ///< pieces that are mapped
  std::uint64_t bytes = 0;     ///< bytes in all of them
  /// Bytes of sections that are not mapped because their units are discarded (`population`).
  std::uint64_t discarded = 0;

  friend constexpr bool operator==(mapped_usage, mapped_usage) noexcept = default;
};

}  // namespace tether
