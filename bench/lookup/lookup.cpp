// SPDX-License-Identifier: BSL-1.0
// The races of this question.
#include <lookup/lookup.hpp>

#include <array>
#include <cstdint>
#include <memory>
#include <string>

void bench::register_races() {
  for (const std::uint64_t count :
       std::to_array<std::uint64_t>({10, 100, 1'000, 10'000, 100'000})) {
    race<lookup::subject>(
        "lookup/random hits/intervals:" + std::to_string(count), "ns a lookup",
        [count] { return std::make_unique<lookup::subject>(count); }, 1.0);
  }
}
