// SPDX-License-Identifier: BSL-1.0
// expects: tether\[P1\]: this is not a policy
#include <tether/attach/configuration.hpp>
#include <tether/backend/software_iommu.hpp>

struct finest {
#ifdef TETHER_CONTROL
  using slot = tether::edges_slot;
#endif
  static constexpr bool refuses(tether::fitting::verdict, bool) noexcept { return false; }
};

constexpr auto holds = tether::configuration<tether::software_iommu, finest>::holds;
