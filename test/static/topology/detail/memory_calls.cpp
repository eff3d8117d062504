// SPDX-License-Identifier: BSL-1.0
#include <tether/topology/detail/memory_calls.hpp>

#include <tether/core/kernel.hpp>

#include <support/faulty_kernel.hpp>

namespace {

using tether::linux_kernel;
using tether::detail::memory_calls_of;
using tether::faulty_kernel;

static_assert(memory_calls_of<linux_kernel>.madvise == &linux_kernel::madvise &&
              memory_calls_of<linux_kernel>.drop_ranges ==
                  &tether::detail::range_advice<linux_kernel>::drop &&
              memory_calls_of<linux_kernel>.fallocate == &linux_kernel::fallocate &&
              memory_calls_of<linux_kernel>.mmap == &linux_kernel::mmap &&
              memory_calls_of<linux_kernel>.move_mapping == &linux_kernel::move_mapping &&
              memory_calls_of<linux_kernel>.munmap == &linux_kernel::munmap &&
              memory_calls_of<linux_kernel>.seals == &linux_kernel::seals &&
              memory_calls_of<linux_kernel>.close == &linux_kernel::close &&
              memory_calls_of<linux_kernel>.any_locked ==
                  &tether::detail::any_locked<linux_kernel> &&
              memory_calls_of<linux_kernel>.locked_until ==
                  &tether::detail::locked_until<linux_kernel> &&
              memory_calls_of<linux_kernel>.file_system_is_full ==
                  &tether::detail::file_system_is_full<linux_kernel>);
static_assert(memory_calls_of<faulty_kernel>.madvise != memory_calls_of<linux_kernel>.madvise);

}  // namespace
