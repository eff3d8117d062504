// SPDX-License-Identifier: BSL-1.0
// Makes the n-th allocation of this thread fail, and counts the bytes that it allocates, in
// executables that link failing_allocation.cpp, which replaces the global operator new.
#pragma once

#include <support/skip.hpp>

#include <cstdint>

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define TETHER_TEST_HAS_TSAN
#endif
#endif
#ifdef __SANITIZE_THREAD__
#define TETHER_TEST_HAS_TSAN
#endif

namespace tether_test {

/// Whether allocations can be made to fail here at all.
#ifdef TETHER_TEST_HAS_TSAN
inline constexpr bool allocations_can_fail = false;
#else
inline constexpr bool allocations_can_fail = true;
#endif
/// For `if (!allocations_can_fail) return cannot_fail_allocations();`
inline void cannot_fail_allocations() {
  skip_because("the thread sanitizer's own operator new cannot be replaced");
}

/// Which allocation of this thread fails, counted from now: 0 none, 1 the next.
extern thread_local std::uint64_t failing_allocation;
/// Bytes that this thread has allocated so far, also those that it has freed again. Stays 0 unless
/// `allocations_can_fail`.
extern thread_local std::uint64_t bytes_allocated;
/// How many times this thread has allocated so far. Likewise.
extern thread_local std::uint64_t allocations_made;

}  // namespace tether_test
