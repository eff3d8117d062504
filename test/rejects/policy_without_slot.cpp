// SPDX-License-Identifier: BSL-1.0
// expects: tether\[P1\]: this is not a policy
#include <tether/attach/container.hpp>
#include <tether/backend/software_iommu.hpp>

struct finest {
#ifdef TETHER_CONTROL
  using slot = tether::edges_slot;
#endif
  static constexpr bool refuses(tether::fitting::verdict, bool) noexcept { return false; }
};

using passthrough = tether::container<tether::software_iommu, finest>;
#include <rejects/program.hpp>
