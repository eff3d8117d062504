// SPDX-License-Identifier: BSL-1.0
// expects: tether\[B6\]: a backend needs
#include <tether/attach/container.hpp>
#include <tether/backend/software_iommu.hpp>

// A hold is given back only when no DMA is in flight.
struct iommu : tether::software_iommu {
#ifndef TETHER_CONTROL
  void quiesce();
#endif
};

using passthrough = tether::container<iommu>;
#include <rejects/program.hpp>
