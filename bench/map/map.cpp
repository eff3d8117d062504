// SPDX-License-Identifier: BSL-1.0
// The races of this question.
#include <map/map.hpp>

#include <array>
#include <cstdint>
#include <memory>
#include <string>

void bench::register_races() {
  for (const auto block :
       std::to_array<std::uint64_t>({64 * tether::KiB, 2 * tether::MiB, map::bytes})) {
    race<map::subject>(
        "map/256 MiB at once/block KiB:" + std::to_string(block / tether::KiB), "ns a GiB",
        [block] { return std::make_unique<map::subject>(block); }, 2.0);
  }
}
