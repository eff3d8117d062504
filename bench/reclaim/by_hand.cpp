// SPDX-License-Identifier: BSL-1.0
// Without containers: a call for each block, and the limit, one call over everything.
#include <reclaim/reclaim.hpp>

#include <cstddef>
#include <cstdint>
#include <sys/mman.h>

namespace {

template <bool Whole>
struct by_hand {
  explicit by_hand(reclaim::subject const& of)
      : ram{reclaim::memory(of)}, unit{Whole ? of.bytes() : of.unit} {}

  void discard() { advise(MADV_DONTNEED); }
  void populate() { advise(MADV_POPULATE_WRITE); }
  void advise(int what) {
    for (std::uint64_t at = 0; at != ram.size(); at += unit) {
      if (::madvise(ram.data() + at, unit, what) != 0) throw bench::cannot_run{"madvise failed"};
    }
  }

  tether::ram_block ram;
  std::uint64_t unit;
};

const bench::side<reclaim::subject> blocks{"block by block, nothing attached",
                                           reclaim::goes_and_comes<by_hand<false>>};
const bench::side<reclaim::subject> whole{"one call over all, nothing attached",
                                          reclaim::goes_and_comes<by_hand<true>>};

}  // namespace
