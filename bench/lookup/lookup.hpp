// SPDX-License-Identifier: BSL-1.0
// Which mapping does an address lie in? Intervals of 2 MiB with holes of 2 MiB between them, asked
// at 256 Ki random addresses that are all mapped: of fewer the branch predictor learns the order.
#pragma once

#include <racing/race.hpp>

#include <tether/core/address.hpp>

#include <benchmark/benchmark.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <random>
#include <vector>

namespace lookup {

inline constexpr std::uint64_t page = 2 * tether::MiB;
inline constexpr std::size_t asked_for = 256 * 1024;  // a constant: a division would be seen

struct interval {
  std::uint64_t first;
  std::uint64_t last;
  std::uint64_t host;
};

struct subject {
  explicit subject(std::uint64_t count) : wanted(asked_for) {
    std::mt19937_64 random{42};
    for (std::uint64_t i = 0; i != count; ++i)
      intervals.push_back({2 * i * page, 2 * i * page + page - 1, (i + 1) * page});
    for (std::uint64_t& one : wanted) one = 2 * (random() % count) * page + random() % page;
  }

  std::vector<interval> intervals{};
  std::vector<std::uint64_t> wanted;
};

/// Minimal: it is made from the intervals, and `find(address)` answers the host's address, 0 where
/// nothing is. Every `find` is a call, tether's too.
template <class Table>
bench::sample looks_up(subject& asked) {
  return bench::repeated([table = std::make_shared<Table>(asked.intervals), &asked,
                          next = std::size_t{0}](std::uint64_t count) mutable {
    return bench::nanoseconds([&] {
      std::uint64_t sum = 0;
      for (; count != 0; --count) {
        sum += table->find(asked.wanted[next]);
        next = (next + 1) % asked_for;
      }
      benchmark::DoNotOptimize(sum);
    });
  });
}

}  // namespace lookup
