// SPDX-License-Identifier: BSL-1.0
// What does it cost to enter and leave the gate, on one thread and on several at once? Each thread
// does the same number; a time is of one permit of one thread, so where a gate scales it stays.
#pragma once

#include <racing/race.hpp>

#include <atomic>
#include <cstdint>
#include <memory>
#include <thread>
#include <vector>

namespace permit {

/// Threads that begin together, spinning: a futex would take longer than the sample.
class crew {
 public:
  explicit crew(unsigned threads) : threads_{threads} {}

  /// Nanoseconds until each has done `work(count)`.
  template <class Work>
  double run(std::uint64_t count, Work work) const {
    std::atomic<unsigned> waiting{threads_};
    const auto begin_together = [&waiting] {
      waiting.fetch_sub(1);
      while (waiting.load() != 0) {}
    };
    std::vector<double> took(threads_);
    {
      std::vector<std::jthread> others;
      for (unsigned i = 1; i < threads_; ++i) {
        others.emplace_back([&, i] {
          work(1);  // registers the thread where a gate needs that
          begin_together();
          took[i] = bench::nanoseconds([&] { work(count); });
        });
      }
      work(1);
      begin_together();
      took[0] = bench::nanoseconds([&] { work(count); });
    }
    double all = 0;
    for (const double one : took) all += one;
    return all / threads_;
  }

 private:
  unsigned threads_;
};

struct subject {
  crew threads;
};

/// Minimal: `enter_and_leave()`, by any thread. It is a call, tether's too.
template <class Gate>
bench::sample passes_through(subject& of) {
  return bench::repeated([&of, gate = std::make_shared<Gate>()](std::uint64_t count) {
    return of.threads.run(count, [&gate](std::uint64_t left) {
      for (; left != 0; --left) gate->enter_and_leave();
    });
  });
}

}  // namespace permit
