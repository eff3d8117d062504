// SPDX-License-Identifier: BSL-1.0
// expects: tether\[E1\]: an edge policy needs
#include <tether/attach/container.hpp>
#include <tether/backend/software_iommu.hpp>

struct lenient {
  using slot = tether::edges_slot;
#ifdef TETHER_CONTROL
  static constexpr bool refuses(tether::fitting::verdict, bool) noexcept { return false; }
#endif
};

using passthrough = tether::container<tether::software_iommu, lenient>;
#include <rejects/program.hpp>
