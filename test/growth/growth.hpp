// SPDX-License-Identifier: BSL-1.0
// The judge of this folder: what an operation costs on a world of N, 2N and 4N things, counted in
// steps (support/steps.hpp), in bytes (allocated and moved) and in calls to kernel or backend.
//
//     cost    a + b N           grown twice: 0        linear
//             b N log N         2 b N                 nine parts in a hundred of what 4N cost
//             c N N             6 c N N               more than half of it
//
// `grown twice` is cost(4N) - cost(2N) - 2 (cost(2N) - cost(N)): it sees a square that is a
// thousandth of what each of the N costs.
#pragma once

#include <support/failing_allocation.hpp>
#include <support/metered_kernel.hpp>
#include <support/steps.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <span>
#include <string>
#include <utility>

namespace tether_test::growth {

/// What four times as many may cost.
enum class promise : std::uint8_t {
  same,    ///< no more than a logarithm: an operation on one of N
  each,    ///< four times as much, and a logarithm
  square,  ///< sixteen times: the row says why. It must be so, or the row is to be corrected
};

struct costs {
  std::uint64_t steps = 0;
  std::uint64_t bytes = 0;
  std::uint64_t calls = 0;
};

/// What is done within `count` is counted; building the world, and tearing it down, is not.
class meter {
 public:
  template <class Operation>
  void count(Operation operation) {
    const std::uint64_t steps = steps_taken;
    const std::uint64_t bytes = bytes_allocated + bytes_moved;
    const std::uint64_t calls = kernel_calls_made;
    {
      const counting_scope on{true};
      operation();
    }
    all_.steps += steps_taken - steps;
    all_.bytes += bytes_allocated + bytes_moved - bytes;
    all_.calls += kernel_calls_made - calls;
  }
  /// What another thread has counted, or a backend was asked.
  void add(costs more) noexcept {
    all_.steps += more.steps;
    all_.bytes += more.bytes;
    all_.calls += more.calls;
  }
  [[nodiscard]] costs const& all() const noexcept { return all_; }

 private:
  costs all_{};
};

/// One operation. `covers`: the public names that it is about, separated by blanks; check.py holds
/// them against the headers.
struct row {
  const char* name;
  const char* covers;
  promise how;
  void (*run)(std::uint64_t n, meter& all);
  std::uint64_t n = 128;
  const char* why = "";  ///< of a square that is promised
};

/// Whether three costs are as promised. `n`: as many steps more are nothing.
[[nodiscard]] inline bool as_promised(promise how, std::uint64_t n,
                                      std::array<std::uint64_t, 3> cost) {
  const auto [once, twice, four] = cost;
  const std::uint64_t grown = four - std::min(four, twice);
  const std::uint64_t linear = 2 * (twice - std::min(twice, once));
  const std::uint64_t again = grown - std::min(grown, linear);
  const bool linear_enough = again <= n || again * 100 <= 15 * grown;
  switch (how) {
    case promise::same: return four <= 2 * once + 64;
    case promise::each: return linear_enough;
    case promise::square: return !linear_enough && four <= 18 * once;
  }
  return false;
}

inline void judge(row const& one) {
  INFO(std::string{one.name});
  std::array<costs, 3> at{};
  for (std::size_t i = 0; i != at.size(); ++i) {
    meter all;
    one.run(one.n << i, all);
    at[i] = all.all();
  }
  const auto of = [&](std::uint64_t costs::* what) {
    return std::array{at[0].*what, at[1].*what, at[2].*what};
  };
  if (std::getenv("TETHER_GROWTH") != nullptr) {
    std::printf("%-60s", one.name);
    for (auto const& each : {of(&costs::steps), of(&costs::bytes), of(&costs::calls)})
      std::printf(
          " %11llu %5.2f", static_cast<unsigned long long>(each[2]),
          static_cast<double>(each[2]) / static_cast<double>(std::max<std::uint64_t>(each[0], 1)));
    std::printf("\n");
  }
  CHECK(at[0].steps != 0);  // else nothing was counted, or this is not instrumented
  if (one.how == promise::square) {
    CHECK(*one.why != '\0');
    CHECK((as_promised(one.how, one.n, of(&costs::steps)) ||
           as_promised(one.how, one.n, of(&costs::bytes)) ||
           as_promised(one.how, one.n, of(&costs::calls))));
    return;
  }
  for (auto const& [what, cost] :
       {std::pair{"steps", of(&costs::steps)}, std::pair{"bytes", of(&costs::bytes)},
        std::pair{"calls", of(&costs::calls)}}) {
    INFO(std::string{what}, " for N, 2N and 4N: ", cost[0], " ", cost[1], " ", cost[2]);
    CHECK(as_promised(one.how, one.n, cost));
  }
}

inline void judge_all(std::span<row const> rows) {
  for (row const& one : rows) judge(one);
}

}  // namespace tether_test::growth
