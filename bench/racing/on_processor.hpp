// SPDX-License-Identifier: BSL-1.0
// For samples that are long because the work is: what a thread that was preempted meanwhile took on
// its processor. Not for work that sleeps.
#pragma once

#include <racing/race.hpp>

#include <algorithm>
#include <ctime>

namespace bench {

/// Nanoseconds that `work()` takes on the processor: the time of the clock where that is less, as
/// it is for the shortest samples. `whose`: CLOCK_PROCESS_CPUTIME_ID where the kernel works for it
/// in threads of its own.
template <class Work>
double nanoseconds_on_processor(Work&& work, clockid_t whose = CLOCK_THREAD_CPUTIME_ID) {
  const auto now = [whose] {
    std::timespec time{};
    ::clock_gettime(whose, &time);
    return static_cast<double>(time.tv_sec) * 1e9 + static_cast<double>(time.tv_nsec);
  };
  const double begun = now();
  const double by_the_clock = nanoseconds(work);
  const double worked = now() - begun;
  return whose == CLOCK_THREAD_CPUTIME_ID ? std::min(by_the_clock, worked) : worked;
}

}  // namespace bench
