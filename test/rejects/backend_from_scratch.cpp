// SPDX-License-Identifier: BSL-1.0
// expects: tether\[B2\]: a backend needs
#include <tether/attach/container.hpp>
#include <tether/backend/software_iommu.hpp>

// Where one begins: it lacks nearly everything, and is told of one thing.
#ifdef TETHER_CONTROL
using iommu = tether::software_iommu;
#else
struct iommu {
  static constexpr bool pins = true;
  static constexpr tether::attach_unit unit = tether::attach_unit::group;
  using group_type = tether::endpoint_group;
};
#endif

using passthrough = tether::container<iommu>;
#include <rejects/program.hpp>
