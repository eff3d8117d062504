// SPDX-License-Identifier: BSL-1.0
// What differs between two maps of N sections, of which one has changed? Every side is given both
// maps in the form that it keeps them in.
#pragma once

#include <racing/race.hpp>

#include <tether/core/address.hpp>

#include <benchmark/benchmark.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace difference {

/// Both maps as plain records. Section i lies at 2 i pages, which leaves a hole behind each; in
/// `after` the middle one shows other memory.
struct record {
  std::uint64_t first;
  std::uint64_t last;
  std::uint64_t offset;
  std::uint64_t attributes;
  friend bool operator==(record const&, record const&) = default;
};

struct subject {
  static constexpr std::uint64_t page = 4 * tether::KiB;

  explicit subject(std::size_t count) {
    for (std::uint64_t i = 0; i != count; ++i)
      before.push_back({2 * i * page, 2 * i * page + page - 1, i * page, 1});
    after = before;
    after[count / 2].offset = count * page;
  }
  std::vector<record> before{};
  std::vector<record> after{};
};

/// Nanoseconds a section, where `find` answers how many sections differ; one is removed, one added.
template <class Find>
bench::sample finds(std::size_t sections, Find find) {
  auto once = bench::repeated([find](std::uint64_t count) {
    bool right = true;
    const double took = bench::nanoseconds([&] {
      for (; count != 0; --count) {
        right = find() == 2 && right;
        benchmark::ClobberMemory();  // else a pure function is called once
      }
    });
    if (!right) throw bench::cannot_run{"it did not find the difference"};
    return took;
  });
  return [sections, once] { return once() / static_cast<double>(sections); };
}

}  // namespace difference
