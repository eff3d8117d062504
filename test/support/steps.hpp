// SPDX-License-Identifier: BSL-1.0
// How many steps a piece of code takes: basic blocks that are entered, counted by the compiler's
// own instrumentation (-fsanitize-coverage=trace-pc), so each loop counts each time round, also
// where it calls nothing. For programs that are compiled with it and link steps.cpp; the same on
// every machine, whatever else runs.
#pragma once

#include <cstdint>
#include <utility>

namespace tether_test {

/// Whether this thread counts now.
extern thread_local bool counts_steps;
/// Steps of this thread while it counted.
extern thread_local std::uint64_t steps_taken;
/// Bytes that this thread has copied by memcpy and memmove while it counted: a vector that grows,
/// or from whose front is erased. Units: bytes.
extern thread_local std::uint64_t bytes_moved;

/// Counts, or does not, for a scope.
class counting_scope {
 public:
  explicit counting_scope(bool on) noexcept : before_{std::exchange(counts_steps, on)} {}
  counting_scope(counting_scope const&) = delete;
  counting_scope& operator=(counting_scope const&) = delete;
  ~counting_scope() { counts_steps = before_; }

 private:
  bool before_;
};

}  // namespace tether_test
