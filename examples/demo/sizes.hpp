// SPDX-License-Identifier: BSL-1.0
// Sizes in readable units.
#pragma once

#include <tether/core/address.hpp>

#include <cstdint>
#include <string>

namespace demo {

/// "256 MiB", or "64 KiB" where it is no whole number of those.
[[nodiscard]] inline std::string in_words(std::uint64_t bytes) {
  return bytes % tether::MiB == 0 ? std::to_string(bytes / tether::MiB) + " MiB"
                                  : std::to_string(bytes / tether::KiB) + " KiB";
}

}  // namespace demo
