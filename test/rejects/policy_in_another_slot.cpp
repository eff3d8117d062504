// SPDX-License-Identifier: BSL-1.0
// expects: tether\[G2\]: a policy for the granularity slot needs.*is 'slot' the one that was meant
#include <tether/attach/container.hpp>
#include <tether/backend/software_iommu.hpp>

#include <cstdint>

// The slot is that of another kind of policy.
struct per_group {
#ifdef TETHER_CONTROL
  using slot = tether::inhibition_slot;
#else
  using slot = tether::granularity_slot;
#endif
  static constexpr std::uint32_t holds(tether::group_counts group) noexcept {
    return group.attached && !group.needs_no_hold() ? 1 : 0;
  }
};

using passthrough = tether::container<tether::software_iommu, per_group>;
#include <rejects/program.hpp>
