// SPDX-License-Identifier: BSL-1.0
// Lets the n-th allocation of this thread fail. Works in the executable of the scenarios, whose
// `out_of_memory.cpp` replaces the global operator new.
#pragma once

#include <cstdint>

namespace tether_test {

/// The allocation of this thread that fails, counted from now: 0 none, 1 the next.
extern thread_local std::uint64_t failing_allocation;

}  // namespace tether_test
