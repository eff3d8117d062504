// SPDX-License-Identifier: BSL-1.0
// expects: tether\[B7\]: a backend of single devices needs
#include <tether/attach/container.hpp>
#include <tether/backend/software_iommu.hpp>

// It takes groups, and says devices.
struct iommu : tether::software_iommu {
#ifndef TETHER_CONTROL
  static constexpr tether::attach_unit unit = tether::attach_unit::device;
#endif
};

using passthrough = tether::container<iommu>;
#include <rejects/program.hpp>
