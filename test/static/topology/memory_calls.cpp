// SPDX-License-Identifier: BSL-1.0
#include <tether/topology/memory_calls.hpp>

#include <support/faulty_kernel.hpp>

using namespace tether;

// Each is the kernel's own, so that one which a test puts in its place is asked.
static_assert(detail::memory_calls_of<linux_kernel>.madvise == &linux_kernel::madvise);
static_assert(detail::memory_calls_of<linux_kernel>.munmap == &linux_kernel::munmap);
static_assert(detail::memory_calls_of<faulty_kernel>.mmap == &faulty_kernel::mmap);
static_assert(detail::memory_calls_of<faulty_kernel>.move_mapping == &faulty_kernel::move_mapping);
static_assert(detail::memory_calls_of<faulty_kernel>.seals == &faulty_kernel::seals);
