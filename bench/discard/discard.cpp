// SPDX-License-Identifier: BSL-1.0
// The races of this question.
#include <discard/discard.hpp>

#include <array>
#include <cstddef>
#include <memory>
#include <string>
#include <thread>
#include <utility>

void bench::register_races() {
  using discard::memory;
  using discard::order;
  constexpr auto memories =
      std::to_array<std::pair<char const*, memory>>({{"private", memory::private_pages},
                                                     {"memfd", memory::memfd},
                                                     {"huge pages", memory::huge_pages}});
  constexpr auto orders =
      std::to_array<std::pair<char const*, order>>({{"contiguous", order::contiguous},
                                                    {"descending", order::descending},
                                                    {"every second", order::strided},
                                                    {"random", order::random}});
  for (auto const& [memory_name, memory_of] : memories) {
    for (auto const& [order_name, order_of] : orders) {
      for (const unsigned beside : {0U, 1U, 4U}) {
        if (beside >= 2 && beside >= std::thread::hardware_concurrency()) continue;
        const std::string panel = std::string{"discard/"} + memory_name + ", " + order_name +
                                  (beside == 0 ? ", alone" : "") +
                                  (beside == 1 ? ", beside a busy thread" : "") +
                                  (beside == 4 ? ", beside 4 busy threads" : "");
        for (const auto count : std::to_array<std::size_t>({1, 16, 256, 4'096, 65'536})) {
          // these take long to bring in again, and 65,536 of them show what 4,096 do
          if (memory_of != memory::private_pages && (count == 16 || count > 4'096)) continue;
          race<discard::subject>(
              panel + "/pages:" + std::to_string(count), "ns a page",
              [in = order_of, of = memory_of, beside, count] {
                return std::make_unique<discard::subject>(in, of, count, beside);
              },
              0.3);
        }
      }
    }
  }
}
