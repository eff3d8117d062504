// SPDX-License-Identifier: BSL-1.0
// expects: tether\[B7\]: a backend of single devices needs
#include <support/ungrouped.hpp>

#include <tether/attach/configuration.hpp>
#include <tether/backend/software_iommu.hpp>

using whole = tether_test::ungrouped<tether::software_iommu>;

// A device that is not bound to its I/O address spaces reaches memory as it likes.
#ifdef TETHER_CONTROL
using backend = whole;
#else
struct backend : whole {
  using whole::whole;
  void bind(device_type&) noexcept {}
};
#endif

constexpr auto holds = tether::configuration<backend>::holds;
