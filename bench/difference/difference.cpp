// SPDX-License-Identifier: BSL-1.0
// The races of this question.
#include <difference/difference.hpp>

#include <array>
#include <cstdint>
#include <memory>
#include <string>

void bench::register_races() {
  for (const auto count : std::to_array<std::uint64_t>({10, 100, 1'000, 10'000, 100'000})) {
    race<difference::subject>("difference/one of N changed/sections:" + std::to_string(count),
                              "ns a section",
                              [count] { return std::make_unique<difference::subject>(count); });
  }
}
