// SPDX-License-Identifier: BSL-1.0
// A race: the sides of one question take short samples in turn, in one process, so that whatever
// else the machine does meets all of them alike. What is reported of each side is its fastest
// sample, and the median of the ratios of samples that were taken in one round.
//
//     round 1   tether  std::map  GTree  ...      one row of the page, a benchmark of Google's, is
//     round 2   std::map  GTree  ...  tether      all rounds of one race
#pragma once

#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <limits>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace bench {

/// Takes one sample; answers how many nanoseconds an operation took. Empty: the side does not take
/// part in this race.
using sample = std::function<double()>;

/// Thrown by a side that this machine does not let run, with the reason.
struct cannot_run : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// Nanoseconds that `work()` takes.
template <class Work>
double nanoseconds(Work&& work) {
  const auto begun = std::chrono::steady_clock::now();
  work();
  const std::chrono::duration<double, std::nano> took = std::chrono::steady_clock::now() - begun;
  return took.count();
}

/// Each sample is of as many operations as take a fifth of a millisecond, found out by doubling.
/// `timed(count)` does `count` of them, and answers the nanoseconds that all took.
template <class Timed>
sample repeated(Timed timed) {
  return [timed = std::move(timed), count = std::uint64_t{1}]() mutable {
    for (;;) {
      const double took = timed(count);
      if (took >= 100'000 || count == 1'048'576) return took / static_cast<double>(count);
      count *= 2;
    }
  };
}

/// What takes part in the races over a `Subject`. One object of it at namespace scope in a file of
/// its own enters a side: `const bench::side<subject> entered{"std::map", prepare};`. The one named
/// "tether" is what the others are compared with.
template <class Subject>
class side {
 public:
  using prepare_type = std::function<sample(Subject&)>;

  side(std::string name, prepare_type prepare)
      : name_{std::move(name)}, prepare_{std::move(prepare)} {
    all().push_back(*this);
  }
  [[nodiscard]] std::string const& name() const { return name_; }
  /// Fails: throws `cannot_run`.
  [[nodiscard]] sample prepare(Subject& subject) const { return prepare_(subject); }

  /// Every side: tether first, then by name.
  [[nodiscard]] static std::vector<side> sorted() {
    auto every = all();
    std::ranges::sort(every, {},
                      [](side const& one) { return std::pair{one.name_ != "tether", one.name_}; });
    return every;
  }

 private:
  static std::vector<side>& all() {
    static std::vector<side> every;
    return every;
  }

  std::string name_;
  prepare_type prepare_;
};

/// A side while it races.
struct lane {
  std::string name;
  sample take;
  double fastest = std::numeric_limits<double>::infinity();
  std::vector<double> all{};
};

/// Rounds until `seconds` have gone by, five at least.
inline void run_rounds(std::vector<lane>& lanes, double seconds) {
  constexpr std::size_t fewest = 5;
  constexpr std::size_t most = 2'000;
  for (lane& one : lanes) one.take();  // nothing is cold in the first round
  const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>{seconds};
  for (std::size_t round = 0; round != most; ++round) {
    if (round >= fewest && std::chrono::steady_clock::now() >= end) return;
    for (std::size_t turn = 0; turn != lanes.size(); ++turn) {
      lane& one = lanes[(round + turn) % lanes.size()];
      one.all.push_back(one.take());
      one.fastest = std::min(one.fastest, one.all.back());
    }
  }
}

/// The median over rounds of how many times as long as `of` a lane took.
inline double median_ratio(lane const& one, lane const& of) {
  std::vector<double> ratios(one.all.size());
  std::ranges::transform(one.all, of.all, ratios.begin(), std::divides<>{});
  const auto middle = ratios.begin() + static_cast<std::ptrdiff_t>(ratios.size() / 2);
  std::ranges::nth_element(ratios, middle);
  return *middle;
}

/// Registers a race. `row` is "question/what is plotted together/parameter:number", `unit` what a
/// time is of: "ns a lookup". Where the machine does not let tether run, the row says so.
template <class Subject>
void race(std::string const& row, std::string const& unit,
          std::function<std::unique_ptr<Subject>()> const& make, double seconds = 0.5) {
  const auto body = [unit, make, seconds](benchmark::State& state) {
    try {
      std::string label = unit;
      const auto subject = make();
      std::vector<lane> lanes;
      for (auto const& one : side<Subject>::sorted()) {
        try {
          if (auto take = one.prepare(*subject)) lanes.push_back({one.name(), std::move(take)});
        } catch (cannot_run const& why) {
          if (one.name() == "tether") throw;
          label += "|" + one.name() + ": " + why.what();
        }
      }
      for (auto turn : state) {
        run_rounds(lanes, seconds);
        state.SetIterationTime(lanes.front().fastest * 1e-9);
      }
      for (lane const& one : lanes) {
        state.counters["fastest|" + one.name] = one.fastest;
        state.counters["ratio|" + one.name] = median_ratio(one, lanes.front());
      }
      state.counters["rounds"] = static_cast<double>(lanes.front().all.size());
      state.SetLabel(label);
    } catch (std::exception const& why) {
      state.SkipWithError(why.what());
    }
  };
  benchmark::RegisterBenchmark(row.c_str(), body)->Iterations(1)->UseManualTime();
}

/// Every question defines it: registers its races.
void register_races();

}  // namespace bench
