// SPDX-License-Identifier: BSL-1.0
// For samples that are long because the work is: what a thread that was preempted meanwhile took on
// its processor. Not for work that sleeps.
#pragma once

#include <racing/race.hpp>

#include <algorithm>
#include <ctime>

namespace bench {

/// Nanoseconds that `work()` takes on the processor: the time of the clock where that is less, as
/// it is for the shortest samples.
template <class Work>
double nanoseconds_on_processor(Work&& work) {
  const auto now = [] {
    std::timespec time{};
    ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return static_cast<double>(time.tv_sec) * 1e9 + static_cast<double>(time.tv_nsec);
  };
  const double begun = now();
  const double by_the_clock = nanoseconds(work);
  return std::min(by_the_clock, now() - begun);
}

}  // namespace bench
