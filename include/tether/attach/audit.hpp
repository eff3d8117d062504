// SPDX-License-Identifier: BSL-1.0
// Checks whether device and CPU use the same page frames: asks the kernel, page by page, and trusts
// none of tether's own state. For users' own tests, and for finding code that discards memory
// behind tether's back.
#pragma once

#include <tether/attach/container.hpp>
#include <tether/core/error.hpp>
#include <tether/listen/audited.hpp>

namespace tether {

namespace detail {

template <class Observer>
inline constexpr bool remembers_frames = false;
template <class Next, class Kernel>
inline constexpr bool remembers_frames<basic_audited<Next, Kernel>> = true;

}  // namespace detail

/// Compares every page that the container has pinned with the one that the CPU maps now. Covers
/// long-term pins only: what a mediated device pins for a request is known to its driver alone.
/// Requires: the container has the policy `audited`. Ensures: nothing is mapped or unmapped
/// meanwhile.
/// Fails: the kernel's errno where the pagemap cannot be read; not enough memory.
/// Cost: a system call per 512 pages; shared pages without a PTE in this process are read.
template <class Backend, class... Policies>
[[nodiscard]] result<audit_report> audit(container<Backend, Policies...>& of) noexcept {
  using observer = typename container<Backend, Policies...>::policies::observation;
  static_assert(detail::remembers_frames<observer>,
                "tether[A1]: a container can be audited only if it remembers what it pinned: give "
                "it the policy tether::audited, or "
                "tether::audited_beside<your observer>");
  if constexpr (detail::remembers_frames<observer>)
    return of.with_observer([](observer& seen) noexcept { return seen.compare(); });
  else return audit_report{};  // never reached: refused above
}

}  // namespace tether
