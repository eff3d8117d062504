// SPDX-License-Identifier: BSL-1.0
#include <tether/backend/io_uring/options.hpp>

#include <linux/io_uring.h>

using namespace tether;

// The kernel's own limits, which its header does not name.
static_assert(io_uring_most_slots == 1U << 14U && io_uring_largest_buffer == 1ULL << 30U);
