// SPDX-License-Identifier: BSL-1.0
// expects: tether\[E1\]: an edge policy needs
#include <tether/attach/container.hpp>
#include <tether/backend/software_iommu.hpp>

#ifdef TETHER_CONTROL
#define SAYS noexcept
#else
#define SAYS
#endif

struct lenient {
  using slot = tether::edges_slot;
  static constexpr bool refuses(tether::fitting::verdict, bool) SAYS { return false; }
};

using passthrough = tether::container<tether::software_iommu, lenient>;
#include <rejects/program.hpp>
