// SPDX-License-Identifier: BSL-1.0
// expects: tether\[P3\]: this policy hides its 'slot'
#include <tether/attach/container.hpp>
#include <tether/backend/software_iommu.hpp>

// A class's members are private at first.
class secretive {
#ifdef TETHER_CONTROL
 public:
#endif
  using slot = tether::edges_slot;
  static constexpr bool refuses(tether::fitting::verdict, bool) noexcept { return false; }
};

using passthrough = tether::container<tether::software_iommu, secretive>;
#include <rejects/program.hpp>
