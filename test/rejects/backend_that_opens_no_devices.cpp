// SPDX-License-Identifier: BSL-1.0
// expects: tether\[B5\]: a backend needs
#include <tether/attach/container.hpp>
#include <tether/backend/software_iommu.hpp>

// Whether a device may agree to discards is judged before it is opened.
struct iommu : tether::software_iommu {
#ifndef TETHER_CONTROL
  void classify();
#endif
};

using passthrough = tether::container<iommu>;
#include <rejects/program.hpp>
