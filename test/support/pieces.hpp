// SPDX-License-Identifier: BSL-1.0
// A mapping cut in two, for models and suites that cut as a granularity says.
#pragma once

#include <tether/core/mapping.hpp>

#include <cstdint>

namespace tether_test {

/// Requires: 0 < size <= the mapping's.
[[nodiscard]] constexpr tether::mapping first_bytes(tether::mapping what,
                                                    std::uint64_t size) noexcept {
  what.where.last = what.where.first + (size - 1);
  return what;
}
/// Requires: 0 < size < the mapping's.
[[nodiscard]] constexpr tether::mapping all_but_first(tether::mapping what,
                                                      std::uint64_t size) noexcept {
  what.where.first = what.where.first + size;
  what.host = what.host + size;
  return what;
}

}  // namespace tether_test
