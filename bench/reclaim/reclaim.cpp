// SPDX-License-Identifier: BSL-1.0
// The races of this question: bandwidth by the size of a unit, and time by the number of units.
#include <reclaim/growth.hpp>
#include <reclaim/reclaim.hpp>

#include <array>
#include <cstdint>
#include <memory>
#include <string>

void bench::register_races() {
  using reclaim::way;
  for (const auto timed : {way::gone, way::back}) {
    for (const unsigned containers : {0U, 1U, 4U}) {
      for (const std::uint64_t unit :
           {64 * tether::KiB, 2 * tether::MiB, 64 * tether::MiB, 1 * tether::GiB}) {
        if (unit == tether::GiB && containers != 1) continue;  // takes long, and shows the same
        const std::string panel = timed == way::gone ? "reclaim/to the host, " : "reclaim/back, ";
        race<reclaim::subject>(
            panel + std::to_string(containers) + (containers == 1 ? " container" : " containers") +
                "/unit KiB:" + std::to_string(unit / tether::KiB),
            "ns a GiB", [=] {
              return std::make_unique<reclaim::subject>(reclaim::subject{unit, containers, timed});
            });
      }
    }
  }
  for (const auto count : std::to_array<std::uint64_t>({1, 10, 100, 1'000, 10'000, 100'000})) {
    race<reclaim::growth>("reclaim/gone and back, software IOMMU/units:" + std::to_string(count),
                          "ns a unit",
                          [count] { return std::make_unique<reclaim::growth>(count); });
  }
}
