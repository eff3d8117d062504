// SPDX-License-Identifier: BSL-1.0
// expects: tether\[B1\]: a backend needs
#include <tether/attach/container.hpp>
#include <tether/backend/software_iommu.hpp>

// What it pins decides what must be held down, so it is a constant.
struct iommu : tether::software_iommu {
#ifndef TETHER_CONTROL
  static bool pins();
#endif
};

using passthrough = tether::container<iommu>;
#include <rejects/program.hpp>
