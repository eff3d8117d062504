// SPDX-License-Identifier: BSL-1.0
// expects: counterexample<[^;]*{"stale mapping after: attach IOMMU-backed group 0: join container; group 0: map; balloon discards; guest touches"
#include <tether/attach/lifecycle/plans.hpp>
#include <tether/proof/proven_safe.hpp>

#include <cstdint>

// It holds for open devices; but a group pins before any of its devices is open.
struct late {
  using slot = tether::inhibition_slot;
  static constexpr std::uint32_t holds(tether::group_counts group) noexcept {
#ifdef TETHER_CONTROL
    return group.attached && !group.needs_no_hold() ? 1 : 0;
#else
    return group.declined;
#endif
  }
};
static_assert(tether::proven_safe<tether::proof::abstraction<late, tether::standard_lifecycle>>);
